"""Sent140 of LEAF (Go et al. 2009; Caldas et al. 2018): tweets that are negative or positive, by author."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from common.sections import Positive
from datasets.arrays import Arrays
from datasets.leaf.files import leaf_root
from datasets.leaf.texts import read_texts
from datasets.request import Request
from datasets.words import Sentences, vocabulary

_TEXT = 4  # of id, date, query, user, text
_LABELS = {0: 0, 1: 1, 4: 1, "0": 0, "1": 1, "4": 1}


def load(
    request: Request,
    *,
    words: Positive = 10_000,
    words_file: str = "",
    length: Annotated[int, Field(ge=3)] = 32,
) -> Arrays:
    """Load LEAF's JSON files.

    Parameters
    ----------
    request : Request
        Where the files are.
    words : int, default 10,000
        Size of the vocabulary: the most frequent words of the training set without what is held out of it.
    words_file : str
        A file whose first words are the vocabulary instead, one at the start of each line.
    length : int, default 32
        Number of words of a text that are used, including a mark for its beginning and one for its end.
    """
    root = leaf_root(request.root, request.name, "sent140")
    what = ("a tweet: its id, date, query, author and text", "0, 1 or 4")
    train, test, owners = read_texts(root, request.name, _text, _label, what)

    def fit(texts: Sequence[str], rows: npt.NDArray[np.int64]) -> Sentences:
        chosen = (texts[row] for row in rows)
        return Sentences(vocabulary(words_file, request.root, words, chosen), length)

    return Arrays(
        (train.texts, train.labels, owners.train),
        (test.texts, test.labels, *(() if owners.test is None else (owners.test,))),
        kind="tokens",
        class_names=("negative", "positive"),
        client_names=owners.names,
        remarks=owners.remarks,
        fit=fit,
    )


def _text(entry: Any) -> str | None:
    text = entry[_TEXT] if isinstance(entry, list) and len(entry) > _TEXT else entry
    return text if isinstance(text, str) else None


def _label(entry: Any) -> int | None:
    return _LABELS.get(entry) if type(entry) in (int, str) else None
