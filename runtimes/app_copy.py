"""A copy of an app for ``flwr run``, which lists every file in an app's folder before it selects some.

A virtual environment in the checkout, as in README, has tens of thousands of files.
"""

import os
import shutil
from pathlib import Path

from common.files import read_text

# The files that Flower packs (``FAB_INCLUDE_PATTERNS``), and the file that excludes some.
_ENDINGS = (".py", ".toml", ".md", ".yaml", ".yml", ".json", ".jsonl")
_NAMES = ("LICENSE", ".gitignore")


def copy_app(app: Path, folder: Path) -> Path:
    """Copy the files that Flower would pack into a new folder, and return it.

    Skips environments, ``.git``, folders with their own line in ``.gitignore``, and, as Flower does, links.
    """
    ignored = _ignored_folders(app)
    for place, folders, files in os.walk(app):
        inner = Path(place).relative_to(app)
        folders[:] = [
            name
            for name in folders
            if not ignored & {name, f"/{inner / name}"} and not _is_environment(place, name)
        ]
        packed = [Path(place, name) for name in files if name.endswith(_ENDINGS) or name in _NAMES]
        for file in packed:
            if not file.is_symlink():
                (folder / inner).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / inner / file.name)
    return folder


def _ignored_folders(app: Path) -> set[str]:
    """Return names of folders; those with a leading slash are paths from the app's folder."""
    file = app / ".gitignore"
    lines = read_text(file).splitlines() if file.is_file() else []
    return {".git", *(line.strip().removesuffix("/") for line in lines if line.strip().endswith("/"))}


def _is_environment(place: str, name: str) -> bool:
    return os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
