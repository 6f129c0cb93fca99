"""Recognise the layout of the texts in ``dataset.root`` and read them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from common.errors import UserError
from datasets.images.files import is_hidden
from datasets.shakespeare.gutenberg import read_gutenberg
from datasets.shakespeare.plays import read_plays
from datasets.shakespeare.roles import Role
from datasets.shakespeare.tiny import read_tinyshakespeare

Edition = Literal["auto", "plays", "tinyshakespeare", "gutenberg"]

_TINY_NAMES = ("tinyshakespeare.txt", "input.txt")
_GUTENBERG_NAMES = ("100.txt", "pg100.txt", "100-0.txt", "raw_data.txt")


def read_roles(root: Path, edition: Edition = "auto") -> tuple[list[Role], str]:
    """Read all roles below a folder.

    Parameters
    ----------
    root : Path
        A folder of plays (or one that has it as ``plays/``), of ``tinyshakespeare.txt`` or of ``100.txt``.
    edition : str, default "auto"
        Which of these to read; ``auto`` takes the first that is there, in this order.

    Returns
    -------
    roles : list of Role
        In order of their first appearance.
    description : str
        What was read, for the log.

    Raises
    ------
    UserError
        If there is no such text, or it is malformed.
    """
    for name, files in _found(root):
        if edition not in ("auto", name):
            continue
        if name == "plays":
            return read_plays(files), f"{len(files)} plays in {files[0].parent}"
        if name == "tinyshakespeare":
            return read_tinyshakespeare(files[0]), f"tinyshakespeare in {files[0]}"
        return read_gutenberg(files[0]), f"the complete works in {files[0]}"
    wanted = "" if edition == "auto" else f" for dataset.edition '{edition}'"
    raise UserError(
        f"dataset 'shakespeare': nothing to read in {root}{wanted}; set dataset.root to a folder of plays"
        f" (*.txt, or plays/*.txt), or one with {' or '.join(_TINY_NAMES)}, or with {_GUTENBERG_NAMES[0]},"
        " the complete works of Project Gutenberg as LEAF reads them"
    )


def _found(root: Path) -> Iterator[tuple[Edition, list[Path]]]:
    if not root.is_dir():
        return
    reserved = (*_TINY_NAMES, *_GUTENBERG_NAMES)
    for folder in (root / "plays", root):
        plays = sorted(
            path for path in folder.glob("*.txt") if path.name not in reserved and not is_hidden(path.name)
        )
        if plays:
            yield "plays", plays
            break
    tiny: Edition = "tinyshakespeare"
    gutenberg: Edition = "gutenberg"
    for edition, names in ((tiny, _TINY_NAMES), (gutenberg, _GUTENBERG_NAMES)):
        if present := [root / name for name in names if (root / name).is_file()]:
            yield edition, present
