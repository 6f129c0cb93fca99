"""The copy of an app that is submitted: Flower packs the same files from it."""

from pathlib import Path

from flwr.cli.build import build_fab_from_disk

from common.defaults import PROJECT_ROOT
from runtimes.app_copy import copy_app
from tests.runtimes.test_federation import CLIENT, PYPROJECT, SERVER


def test_what_flower_packs_is_copied(tmp_path: Path) -> None:
    app = tmp_path / "app"
    kept = {
        "pyproject.toml": PYPROJECT, "LICENSE": "", "README.md": "", ".gitignore": "/runs/\n.venv/\n",
        "tiny/server.py": SERVER, "tiny/client.py": CLIENT, "tiny/__init__.py": "", "tiny/runs/kept.py": "",
    }  # fmt: skip
    left_out = [".venv/lib/x.py", "tiny/.venv/y.py", "runs/a/summary.json", ".git/HEAD", "model.bin"]
    for name, text in {**kept, **dict.fromkeys(left_out, "")}.items():
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).write_text(text)
    (app / "link.py").symlink_to(app / "tiny" / "server.py")
    copied = copy_app(app, tmp_path / "copy")
    assert {str(file.relative_to(copied)) for file in copied.rglob("*") if file.is_file()} == {*kept}
    assert build_fab_from_disk(copied) == build_fab_from_disk(app)


def test_an_environment_of_any_name_is_left_out(tmp_path: Path) -> None:
    for name in ("app/my-env/pyvenv.cfg", "app/my-env/lib/x.py", "app/main.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    copied = copy_app(tmp_path / "app", tmp_path / "copy")
    assert [file.name for file in copied.rglob("*")] == ["main.py"]


def test_the_project_has_few_enough_files(tmp_path: Path) -> None:
    copied = copy_app(PROJECT_ROOT, tmp_path / "copy")
    assert (copied / "server" / "app.py").read_bytes() == (PROJECT_ROOT / "server" / "app.py").read_bytes()
    assert len(list(copied.rglob("*"))) < 3000
