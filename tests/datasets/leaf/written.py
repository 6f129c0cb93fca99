"""Data as LEAF writes them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Samples = Mapping[str, tuple[Sequence[Any], Sequence[Any]]]


def content(users: Samples) -> dict[str, Any]:
    return {
        "users": list(users),
        "num_samples": [len(y) for _, y in users.values()],
        "user_data": {name: {"x": list(x), "y": list(y)} for name, (x, y) in users.items()},
    }


def write(root: Path, part: str, users: Samples, files: int = 1) -> None:
    """Deal the users to files in turn."""
    folder = root / part
    folder.mkdir(parents=True, exist_ok=True)
    names = list(users)
    for index in range(files):
        chosen = {name: users[name] for name in names[index::files]}
        (folder / f"all_data_{index}_keep_0_{part}_9.json").write_text(json.dumps(content(chosen)))
