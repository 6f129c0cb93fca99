"""Texts by user, as arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.leaf.files import PARTS, User, read_users
from datasets.leaf.owners import Owners


@dataclass(frozen=True, eq=False)
class Texts:
    """A part: the texts, their labels, and how many of them each user has, in order."""

    texts: Sequence[str]
    labels: npt.NDArray[np.int64]
    counts: dict[str, int]


def read_texts(
    root: Path,
    dataset: str,
    text_of: Callable[[Any], str | None],
    label_of: Callable[[Any], int | None],
    what: tuple[str, str],
) -> tuple[Texts, Texts, Owners]:
    """Read both parts.

    Parameters
    ----------
    root : Path
        The folder with ``train`` and ``test``.
    dataset : str
        The data set, for messages.
    text_of, label_of : callable
        Return what an entry of ``x`` and of ``y`` stands for; None if it is not as it should be.
    what : tuple of str
        What these should be, for messages.

    Raises
    ------
    UserError
        If a file is not as LEAF writes them.
    """
    train, test = (_part(root, part, dataset, text_of, label_of, what) for part in PARTS)
    return train, test, Owners.of(train.counts, test.counts, dataset)


def _part(
    root: Path,
    part: str,
    dataset: str,
    text_of: Callable[[Any], str | None],
    label_of: Callable[[Any], int | None],
    what: tuple[str, str],
) -> Texts:
    texts: list[str] = []
    labels: list[npt.NDArray[np.int64]] = []
    counts: dict[str, int] = {}
    for user in read_users(root, part):
        texts += _texts(user, text_of, what[0])
        labels.append(np.array(user.labels(label_of, what[1]), dtype=np.int64))
        counts[user.name] = len(user.x)
    if not texts:
        raise UserError(f"dataset '{dataset}': no user in {root / part} has a sample")
    return Texts(texts, np.concatenate(labels), counts)


def _texts(user: User, text_of: Callable[[Any], str | None], what: str) -> list[str]:
    texts: list[str] = []
    for index, entry in enumerate(user.x):
        text = text_of(entry)
        if text is None:
            raise user.error(f"entry {index} of 'x' is not {what}")
        texts.append(text)
    return texts
