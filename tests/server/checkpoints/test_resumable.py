"""A checkpoint that does not fit the run is refused; changed code of plug-ins is named."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common.errors import UserError
from common.plugin_modules import import_from
from common.plugins import use_folders
from common.records import to_record
from datasets.configured import open_dataset
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.resumable import PluginCode, RunData, check_fits
from tests.conftest import Runner, small_config

MODEL = {"w": torch.zeros(2, 3), "n": torch.tensor(4)}


def checkpoint(clients: list[int], **arrays: torch.Tensor) -> Checkpoint:
    return Checkpoint(3, {**MODEL, **arrays}, ({}, {}), {}, {}, {client: {} for client in clients})


@pytest.mark.parametrize(
    ("stored", "complaint"),
    [
        (checkpoint([], w=torch.zeros(2, 4)), r"'w' of the model is float32 \(2, 4\) in the checkpoint and"),
        (checkpoint([], w=torch.zeros(2, 3).double()), r"float64 \(2, 3\) .* float32 \(2, 3\) now"),
        (
            checkpoint([], b=torch.zeros(1)),
            r"'b' of the model is float32 \(1,\) in the checkpoint and missing",
        ),
        (checkpoint([0, 5]), "state of client 5, which is none"),
        (checkpoint([-1]), "state of client -1, which is none"),
    ],
)
def test_what_does_not_fit_is_refused(stored: Checkpoint, complaint: str) -> None:
    with pytest.raises(UserError, match=f"^cannot resume: .*{complaint}"):
        check_fits(stored, to_record(MODEL), 5)
    check_fits(checkpoint([0, 4]), to_record(MODEL), 5)


def test_plug_ins_that_have_changed_are_named(tmp_path: Path) -> None:
    (tmp_path / "before" / "models").mkdir(parents=True)
    for name in ("used", "unused"):
        (tmp_path / "before" / "models" / f"{name}.py").write_text("WIDTH = 16\n")
    said: list[str] = []
    try:
        use_folders(str(tmp_path / "before"))
        import_from(tmp_path / "before", "models.used")
        state = PluginCode(said.append).state()
        # Folders may move, and what was not used may change.
        (tmp_path / "before").rename(tmp_path / "after")
        use_folders(str(tmp_path / "after"))
        (tmp_path / "after" / "models" / "unused.py").write_text("WIDTH = 32\n")
        PluginCode(said.append).restore(state)
        assert said == []
        (tmp_path / "after" / "models" / "used.py").write_text("WIDTH = 32\n")
        PluginCode(said.append).restore(state)
        (tmp_path / "after" / "models" / "used.py").unlink()
        PluginCode(said.append).restore(state)
    finally:
        use_folders("")
        for name, module in list(sys.modules.items()):
            if str(tmp_path) in str(getattr(module, "__file__", "")):
                del sys.modules[name]
    assert len(said) == 2
    assert set(said) == {
        "plug-ins have changed since the checkpoint (models/used.py): later rounds run the changed code"
    }


def write(
    folder: Path, change: Callable[[np.ndarray, np.ndarray], object] = lambda inputs, targets: None
) -> str:
    generator = np.random.default_rng(0)
    folder.mkdir()
    for part in ("train", "test"):
        inputs, targets = generator.integers(0, 256, (200, 1, 8, 8), dtype=np.uint8), np.arange(200) % 4
        if part == "train":
            change(inputs, targets)
        np.savez(folder / f"{part}.npz", inputs=inputs, targets=targets)
    return str(folder)


def test_a_run_is_not_resumed_with_other_data(tmp_path: Path, run_small: Runner, no_pictures: None) -> None:
    keys = {"dataset__name": "npz", "partition__name": "iid", "augmentation__name": "none"}

    def swap(inputs: np.ndarray, targets: np.ndarray) -> None:
        targets[[0, 1]] = targets[[1, 0]]

    def draw(inputs: np.ndarray, targets: np.ndarray) -> None:
        inputs[7, 0, 3, 3] ^= 1

    run_small("run", rounds=1, dataset__root=write(tmp_path / "first"), **keys)
    for name, change, what in (
        ("labels", swap, "the labels of the training samples"),
        ("pixel", draw, "the inputs of the training samples"),
    ):
        with pytest.raises(UserError, match=f"^cannot resume with other data .*{what}.*: give it") as error:
            run_small("run", rounds=2, run__resume=True, dataset__root=write(tmp_path / name, change), **keys)
        assert "\n" not in str(error.value)
        assert "test samples" not in str(error.value)
    moved = write(tmp_path / "moved")
    run = run_small("run", rounds=2, run__resume=True, dataset__root=moved, **keys)
    whole = run_small("whole", rounds=2, dataset__root=moved, **keys)
    assert (run / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_nodes_must_have_as_many_samples_and_labels_as_before() -> None:
    config = small_config(partition__name="node")

    def data(*num_examples: int) -> RunData:
        clients = SimpleNamespace(
            num_examples=np.array(num_examples), label_counts=np.zeros((2, 0), np.int64)
        )
        return RunData(SimpleNamespace(config=config, clients=clients, dataset=open_dataset(config)))  # type: ignore[arg-type]

    kept = data(30, 40).state()
    data(30, 40).restore(kept)
    data(30, 40).restore({})  # a checkpoint of before there were digests
    with pytest.raises(UserError, match=r"began with \(how many samples and labels the nodes have\): give"):
        data(30, 41).restore(kept)
