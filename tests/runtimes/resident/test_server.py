"""What the resident process does for each message beside Flower's program."""

import sys
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.cli.install import install_from_fab

if sys.platform != "linux":
    pytest.skip("only Linux has a resident process", allow_module_level=True)

from runtimes.resident.server import unpacked

PYPROJECT = """
[project]
name = "tinyapp"
version = "1.0.0"
dependencies = []

[tool.flwr.app]
publisher = "tests"

[tool.flwr.app.components]
serverapp = "tiny:app"
clientapp = "tiny:app"
"""


def app_that_says(text: str, folder: Path) -> bytes:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "tiny.py").write_text(f"app = {text!r}\n")
    return build_fab_from_disk(folder)


def test_an_app_is_unpacked_once_where_flower_would_and_another_version_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    calls: list[bytes] = []

    def unpack(app: bytes, skip_prompt: bool) -> Path:
        calls.append(app)
        return install_from_fab(app, skip_prompt=skip_prompt)

    one, other = (app_that_says(text, tmp_path / text) for text in ("one", "other"))
    folder = unpacked(unpack, one, skip_prompt=True)
    assert unpacked(unpack, one, skip_prompt=True) == folder
    assert calls == [one]
    assert install_from_fab(one, skip_prompt=True) == folder
    assert (folder / "tiny.py").read_text() == "app = 'one'\n"

    beside = unpacked(unpack, other, skip_prompt=True)
    assert calls == [one, other]
    assert (beside / "tiny.py").read_text() == "app = 'other'\n"
    assert beside.parent == folder.parent
