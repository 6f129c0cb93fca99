"""A user's text for a trained model, encoded with the character table that the model was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from datasets.shakespeare.vocabulary import BEGIN, LEAF, PAD, TFF, TokenArray

_SPACE = 1  # of LEAF's symbols


@dataclass(frozen=True)
class GivenText:
    """The end of a text, encoded.

    Attributes
    ----------
    ids : array
        (length,): the model's input.
    position : int
        Index of the id after which to predict the next character.
    unknown, filled : int
        Number of characters that the model does not know, and of spaces put before a text that is too short.
    """

    ids: TokenArray
    position: int
    unknown: int
    filled: int = 0


def given_text(text: str, classes: Sequence[str], length: int) -> GivenText:
    """Encode the last characters of a text, as many as the model takes.

    A shorter text starts with the bos token if the table has one, and is otherwise padded with spaces in
    front.

    Raises
    ------
    UserError
        If the text is empty, or the classes are not those of a known character table.
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
