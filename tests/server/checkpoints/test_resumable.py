"""A checkpoint that does not fit the run is refused; changed code of plug-ins is named."""

import sys
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.plugin_modules import import_from
from common.plugins import use_folders
from common.records import to_record
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.resumable import PluginCode, check_fits

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
