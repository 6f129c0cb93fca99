"""The JSON files of LEAF: ``users``, ``num_samples`` and ``user_data``, with ``x`` and ``y`` of each user."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from common.errors import UserError, shown
from common.files import read_json
from datasets.images.files import is_hidden

PARTS = ("train", "test")
_HOME = "https://github.com/TalwalkarLab/leaf"

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class User:
    """A user's samples as stored in a file; `x` and `y` have equal length."""

    path: Path
    name: str
    x: list[Any]
    y: list[Any]

    def error(self, complaint: str) -> UserError:
        """Return an error that names the file and the user."""
        return UserError(f"{self.path}, user {shown(self.name)}: {complaint}")

    def labels(self, known: Callable[[Any], T | None], what: str) -> list[T]:
        """Convert each label by `known`, which returns None for an invalid one.

        Raises
        ------
        UserError
            If a label is invalid; `what` describes a valid one.
        """
        made = [known(label) for label in self.y]
        labels = [label for label in made if label is not None]
        if len(labels) < len(made):
            wrong = made.index(None)
            raise self.error(f"label {wrong} is {shown(self.y[wrong])}, not {what}")
        return labels


def expected(root: Path, name: str) -> str:
    """Return what should be in a folder and where to get it, for error messages."""
    return (
        f"{root}/train/*.json and {root}/test/*.json, as preprocess.sh of {_HOME} writes them below"
        f" data/{name}/data"
    )


def leaf_root(root: Path, dataset: str, name: str) -> Path:
    """Return the folder that has ``train`` and ``test``: the root or a folder of LEAF's layout below it.

    Parameters
    ----------
    root : Path
        ``dataset.root``: that folder, LEAF's ``data/<name>``, or a checkout of LEAF.
    dataset, name : str
        The data set's name in the configuration and in LEAF.

    Raises
    ------
    UserError
        If there is no such folder.
    """
    for folder in (root, root / "data", root / "data" / name / "data"):
        if all((folder / part).is_dir() for part in PARTS):
            return folder
    missing = next(part for part in PARTS if not (root / part).is_dir())
    raise UserError(f"dataset '{dataset}': expected {expected(root, name)}, but {root / missing} is missing")


def read_users(folder: Path) -> Iterator[User]:
    """Yield the users of ``folder/*.json`` who have samples, with one file in memory at a time.

    Raises
    ------
    UserError
        If there is no file, or one is not in LEAF's format.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if not is_hidden(path.name)]
    if not paths:
        raise UserError(f"{folder} has no *.json files, which LEAF writes there")
    seen: dict[str, Path] = {}
    for path in paths:
        for user in _users_of(path):
            if user.name in seen:
                raise user.error(f"{seen[user.name]} also has that user: move one of the two files away")
            seen[user.name] = path
            if user.x:
                yield user


def _users_of(path: Path) -> Iterator[User]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is not LEAF's: it must be an object with users, num_samples and user_data")
    for key, kind in (("users", list), ("num_samples", list), ("user_data", dict)):
        if not isinstance(content.get(key), kind):
            wanted = "an object" if kind is dict else "a list"
            raise UserError(f"{path} is not LEAF's: '{key}' must be {wanted}")
    users, counts, data = content["users"], content["num_samples"], content["user_data"]
    if len(users) != len(counts):
        raise UserError(f"{path}: {len(users)} users and {len(counts)} entries of num_samples")
    if len(data) != len(users):
        raise UserError(f"{path}: {len(users)} users, and user_data of {len(data)}")
    for name, count in zip(users, counts, strict=True):
        if not isinstance(name, str) or name not in data:
            raise UserError(f"{path}, user {shown(name)}: it is not in user_data")
        yield _user(path, name, count, data[name])


def _user(path: Path, name: str, count: Any, samples: Any) -> User:
    user = User(path, name, [], [])
    if not isinstance(samples, dict):
        raise user.error("its user_data must be an object with 'x' and 'y'")
    for key in ("x", "y"):
        if not isinstance(samples.get(key), list):
            raise user.error(f"'{key}' must be a list")
    x, y = samples["x"], samples["y"]
    if not len(x) == len(y) == count:
        raise user.error(f"num_samples is {shown(count)}, and there are {len(x)} of 'x' and {len(y)} of 'y'")
    return User(path, name, x, y)
