"""The files of a checkpoint, for code that only reads them."""

import re
from pathlib import Path
from typing import Any

from common.files import read_regular
from common.seal import unseal

FOLDER = "checkpoints"
MANIFEST = re.compile(r"round-(\d{6,})\.json")


def stem(server_round: int) -> str:
    """Return the ending of the names of a round's files."""
    return f"round-{server_round:06d}"


def manifest_path(directory: Path, server_round: int) -> Path:
    """Return the file whose appearance commits a round; `directory` is that of the checkpoints."""
    return directory / f"{stem(server_round)}.json"


def committed_rounds(directory: Path) -> list[int]:
    """Return the rounds with a checkpoint, ascending."""
    if not directory.is_dir():
        return []
    matches = (MANIFEST.fullmatch(path.name) for path in directory.iterdir())
    return sorted({int(match[1]) for match in matches if match})


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest, and check that it names files of its own round.

    Raises
    ------
    ValueError, LookupError, TypeError, AttributeError, OSError
        If it is damaged or malformed, or names files that a commit of its round does not write.
    """
    manifest = unseal(read_regular(path))
    number = manifest["round"]
    if stem(number) != path.stem:
        raise ValueError(f"it is of round {number}")
    for kind, file in manifest["files"].items():
        if file["name"] != f"{kind}-{stem(number)}.safetensors":
            raise ValueError(f"it is of round {number} and names {file['name']}")
    return manifest


def no_such_round(directory: Path, server_round: int) -> str:
    """Return the message that a round has no checkpoint, with the rounds that have one."""
    rounds = ", ".join(map(str, committed_rounds(directory))) or "none"
    return (
        f"{directory} has no checkpoint of round {server_round}, only of: {rounds}; a run keeps those that"
        " checkpoint.keep lists"
    )
