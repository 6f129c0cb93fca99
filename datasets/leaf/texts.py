"""Texts in LEAF's layout, by user."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datasets.leaf.files import User
from datasets.leaf.owners import Owners
from datasets.leaf.parts import Part, read_parts


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of a part and their labels."""

    texts: Sequence[str]
    labels: npt.NDArray[np.int64]


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
        Convert an entry of ``x`` and of ``y``; None if it is invalid.
    what : tuple of str
        Descriptions of valid entries, for error messages.

    Raises
    ------
    UserError
        If a file is not in LEAF's format.
    """
    train, test, owners = read_parts(
        root, dataset, lambda user: _texts(user, text_of, what[0]), label_of, what[1]
    )
    return _flat(train), _flat(test), owners


def _texts(user: User, text_of: Callable[[Any], str | None], what: str) -> list[str]:
    texts: list[str] = []
    for index, entry in enumerate(user.x):
        text = text_of(entry)
        if text is None:
            raise user.error(f"entry {index} of 'x' is not {what}")
        texts.append(text)
    return texts


def _flat(part: Part[list[str]]) -> Texts:
    return Texts([text for of_user in part.inputs for text in of_user], part.labels)
