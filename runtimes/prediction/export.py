"""A run's model, normalisation included, as a file that can be used without this project."""

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import UserError
from common.files import write_atomic
from models import RunModel

_NEEDED = ("onnx", "onnxscript")
_INSTALL = "pip install onnx onnxscript onnxruntime"
_LARGEST_DIFFERENCE = 1e-3
_NAMES = ("inputs", "outputs")


def export_program(model: RunModel, path: Path) -> None:
    """Write a file for ``torch.export.load``; its extra file ``model.json`` is the model card.

    Raises
    ------
    UserError
        If torch cannot trace the model.
    """
    program = _traced(model)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.pt2"
        torch.export.save(program, file, extra_files={"model.json": model.card.model_dump_json()})
        write_atomic(path, file.read_bytes())


def export_onnx(model: RunModel, path: Path) -> str:
    """Write an ONNX model and return a line on how it was checked.

    The names of the classes are its metadata ``classes``, as JSON.

    Raises
    ------
    UserError
        If a package is missing, torch cannot convert the model, or the file's outputs differ.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"--onnx needs the package {missing[0]}, which is not installed: {_INSTALL}")
    program = _traced(model)
    try:
        converted: Any = torch.onnx.export(
            program, input_names=[_NAMES[0]], output_names=[_NAMES[1]], dynamo=True, verbose=False
        )
    except Exception as error:  # the converter may raise anything on a plug-in model
        raise UserError(f"torch cannot convert this model to ONNX: {_first_line(error)}") from error
    converted.model.metadata_props["classes"] = json.dumps(model.classes)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        converted.save(str(file), external_data=False)
        content = file.read_bytes()
    remark = _checked(model, content)
    write_atomic(path, content)
    return remark


def _traced(model: RunModel) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(
                model, (example(model, 2),), dynamic_shapes=({0: torch.export.Dim("samples")},)
            )
    except Exception as error:  # a tracer may raise anything on a plug-in model
        raise UserError(f"torch.export cannot trace this model: {_first_line(error)}") from error


def example(model: RunModel, samples: int) -> Tensor:
    """Return deterministic raw inputs of the model's input type."""
    generator = torch.Generator().manual_seed(0)
    shape = (samples, *model.card.input_shape)
    if model.card.kind == "images":
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    if model.card.kind == "tokens":
        return torch.randint(0, model.card.outputs, shape, dtype=torch.int32, generator=generator)
    values = torch.randn(shape, generator=generator)
    return values if model.mean is None or model.std is None else (values * model.std + model.mean).float()


def _checked(model: RunModel, content: bytes) -> str:
    """Compare the file's outputs with the model's, for another number of samples than it was traced with."""
    if importlib.util.find_spec("onnxruntime") is None:
        return "not checked, since onnxruntime is not installed"
    import onnxruntime

    inputs = example(model, 5)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [found] = session.run([_NAMES[1]], {_NAMES[0]: inputs.numpy()})
    expected = model.logits(inputs).numpy()
    difference = float(np.abs(found - expected).max())
    # For outputs in the thousands, as in regression, float32 has no more digits.
    if not difference <= _LARGEST_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
        raise UserError(f"the ONNX model differs from this one by {difference:.2g}: nothing was written")
    return f"onnxruntime's outputs differ from torch's by at most {difference:.1e}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
