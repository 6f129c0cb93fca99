"""Shakespeare as LEAF (Caldas et al. 2018) writes it: windows of 80 characters, and the next one."""

from typing import Any

import numpy as np

from datasets.arrays import Arrays
from datasets.leaf.files import leaf_root
from datasets.leaf.texts import Texts, read_texts
from datasets.request import Request
from datasets.shakespeare.vocabulary import LEAF
from datasets.shakespeare.windows import LENGTH

_NUMBER = {character: LEAF.first + index for index, character in enumerate(LEAF.characters)}
_UNKNOWN = -1


def load(request: Request) -> Arrays:
    """Load LEAF's JSON files; `shakespeare` makes the same windows of the plays themselves."""
    root = leaf_root(request.root, request.name, "shakespeare")
    what = (f"a text of {LENGTH} characters", "a character")
    train, test, owners = read_texts(root, request.name, _window, _character, what)
    (*coded, unknown), (*test_coded, test_unknown) = _encoded(train), _encoded(test)
    remarks = list(owners.remarks)
    if unknown or test_unknown:
        remarks.append(
            f"characters that are not in the vocabulary, and count as spaces: {unknown + test_unknown}"
        )
    return Arrays(
        (*coded, owners.train),
        (*test_coded, *(() if owners.test is None else (owners.test,))),
        kind="tokens",
        class_names=LEAF.names(),
        client_names=owners.names,
        remarks=remarks,
    )


def _window(entry: Any) -> str | None:
    return entry if isinstance(entry, str) and len(entry) == LENGTH else None


def _character(entry: Any) -> int | None:
    return _NUMBER.get(entry, _UNKNOWN) if isinstance(entry, str) and len(entry) == 1 else None


def _encoded(part: Texts) -> tuple[np.ndarray, np.ndarray, int]:
    """Return windows, next characters, and how many characters of either are unknown."""
    tokens, unknown = LEAF.encode("".join(part.texts))
    is_unknown = part.labels == _UNKNOWN
    targets = np.where(is_unknown, LEAF.unknown, part.labels)
    return tokens.reshape(-1, LENGTH), targets, unknown + int(is_unknown.sum())
