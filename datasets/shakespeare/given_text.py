"""A text that a person gives to a trained model: as the ids of characters that the model was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from datasets.shakespeare.vocabulary import BEGIN, LEAF, PAD, TFF, TokenArray

_SPACE = 1  # of LEAF's symbols


@dataclass(frozen=True)
class GivenText:
    """The end of a text.

    Attributes
    ----------
    ids : array
        (length,): what a model takes.
    position : int
        After which of them the next character is asked for.
    unknown, filled : int
        Characters that the model does not know, and spaces that were put before a text that is too short.
    """

    ids: TokenArray
    position: int
    unknown: int
    filled: int = 0


def given_text(text: str, classes: Sequence[str], length: int) -> GivenText:
    """Return the last characters of a text, as many as the model takes, as its ids.

    A text that is shorter begins with the token of beginnings where there is one, and otherwise with spaces.

    Raises
    ------
    UserError
        If the text is empty, or the classes are not characters of a known table.
    """
    if not text:
        raise UserError("the text is empty: there is nothing to continue")
    if tuple(classes) == TFF.names():
        ids, unknown = TFF.encode(text)
        begun = np.concatenate([np.array([BEGIN], dtype=np.uint8), ids])[-length:]
        padded = np.full(length, PAD, dtype=np.uint8)
        padded[: len(begun)] = begun
        return GivenText(padded, len(begun) - 1, unknown)
    if tuple(classes) == LEAF.names():
        ids, unknown = LEAF.encode(text[-length:])
        filled = length - len(ids)
        whole = np.concatenate([np.full(filled, _SPACE, dtype=np.uint8), ids])
        return GivenText(whole, length - 1, unknown, filled)
    raise UserError(
        "this model's tokens are not characters of a known table: give a .npz file with 'inputs', or use"
        " load_run in Python"
    )
