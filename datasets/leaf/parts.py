"""The training and the test set of LEAF's files, user by user."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.leaf.files import PARTS, User, read_users
from datasets.leaf.owners import Owners

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Part(Generic[T]):
    """A part of a data set.

    Attributes
    ----------
    inputs : list of T
        Each user's ``x``, converted by `inputs_of`.
    labels : array
        int64, (samples,).
    counts : dict[str, int]
        User → number of samples, in order.
    """

    inputs: list[T]
    labels: npt.NDArray[np.int64]
    counts: dict[str, int]


def read_parts(
    root: Path,
    dataset: str,
    inputs_of: Callable[[User], T],
    label_of: Callable[[Any], int | None],
    what: str,
) -> tuple[Part[T], Part[T], Owners]:
    """Read both parts.

    Parameters
    ----------
    root : Path
        The folder with ``train`` and ``test``.
    dataset : str
        The data set, for messages.
    inputs_of : callable
        Converts a user's ``x``.
    label_of : callable
        Converts an entry of ``y``; None if it is invalid.
    what : str
        Description of a valid entry, for error messages.

    Raises
    ------
    UserError
        If a file is not in LEAF's format, or a part has no samples.
    """
    train, test = (_read(root / part, dataset, inputs_of, label_of, what) for part in PARTS)
    return train, test, Owners.of(train.counts, test.counts, dataset)


def _read(
    folder: Path,
    dataset: str,
    inputs_of: Callable[[User], T],
    label_of: Callable[[Any], int | None],
    what: str,
) -> Part[T]:
    inputs: list[T] = []
    labels: list[int] = []
    counts: dict[str, int] = {}
    for user in read_users(folder):
        inputs.append(inputs_of(user))
        labels += user.labels(label_of, what)
        counts[user.name] = len(user.x)
    if not labels:
        raise UserError(f"dataset '{dataset}': no user in {folder} has a sample")
    return Part(inputs, np.array(labels, dtype=np.int64), counts)
