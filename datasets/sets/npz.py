"""``<root>/train.npz``, ``test.npz`` and perhaps ``validation.npz``: ``inputs``, ``targets``, ``clients``."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from common.client_tables import DAMAGED_NPZ
from common.errors import UserError
from common.files import read_regular
from common.reading import comma_list
from datasets.arrays import Arrays

_NAMES = ("inputs", "targets", "clients")


def load(
    root: Path,
    *,
    kind: Literal["auto", "images", "features", "tokens"] = "auto",
    task: Literal["auto", "classification", "regression"] = "auto",
    classes: str = "",
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Arrays:
    """Load arrays of any shape.

    Parameters
    ----------
    root : Path
        The folder with the files.
    kind : str, default "auto"
        What the inputs are; see `datasets.arrays.Arrays`.
    task : str, default "auto"
        Whether targets are classes or numbers; ``auto`` decides by the loss and their type.
    classes : str
        Names of the classes, separated by commas.
    test_fraction : float, default 0
        Share of the training samples that become the test set where there is no ``test.npz``.
    """
    test, validation = root / "test.npz", root / "validation.npz"
    return Arrays(
        _read(root / "train.npz", task),
        None if test_fraction and not test.exists() else _read(test, task),
        _read(validation, task) if validation.exists() else None,
        kind=kind,
        test_fraction=test_fraction,
        class_names=comma_list("dataset.classes", classes),
    )


def read_arrays(path: Path, needed: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the arrays of a file that have known names.

    Raises
    ------
    UserError
        If the file is missing or damaged, or lacks a needed array.
    """
    try:
        content = read_regular(path)
        file = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array: save several with numpy.savez")
        with file:
            arrays = {name: file[name] for name in _NAMES if name in file.files}
            others = ", ".join(file.files) or "none"
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"there is no {path}: dataset 'npz' reads train.npz and test.npz in dataset.root;"
            " without a test.npz set dataset.test-fraction, such as 0.2"
        ) from None
    except DAMAGED_NPZ as error:
        text = getattr(error, "strerror", None) or str(error)
        reason = " ".join(text.split()) or type(error).__name__
        pickled = (
            "object arrays are pickled, which is not safe to read" if "allow_pickle" in reason else reason
        )
        raise UserError(f"cannot read {path}: {pickled}") from None
    if missing := [name for name in needed if name not in arrays]:
        raise UserError(f"{path} has no array '{missing[0]}' (it has: {others})")
    return arrays


def _read(path: Path, task: str) -> tuple[Any, ...]:
    arrays = read_arrays(path, _NAMES[:2])
    targets = arrays["targets"]
    if task == "regression" and targets.dtype.kind in "biu":
        targets = targets.astype(np.float64)
    elif task == "classification" and targets.dtype.kind == "f":
        targets = np.array([f"{value:.15g}" for value in targets.ravel()])
    clients = [arrays["clients"]] if "clients" in arrays else []
    return (arrays["inputs"], targets, *clients)
