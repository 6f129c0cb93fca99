"""SNLI (Bowman et al. 2015): whether a sentence entails another one, contradicts it, or neither."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from common.errors import UserError, shown
from common.files import read_text
from common.reading import parse_json
from common.sections import Positive
from datasets.arrays import Arrays
from datasets.words import Words, vocabulary

_CLASSES = ("entailment", "neutral", "contradiction")
_KEYS = ("gold_label", "sentence1", "sentence2")
_NO_MAJORITY = "-"  # pairs without a majority label, which are commonly left out
_FOLDER = "snli_1.0"
_PARTS = {"train": "train", "test": "test", "validation": "dev"}

Pairs = tuple[list[str], list[int]]


def load(
    root: Path,
    *,
    words: Positive = 10_000,
    words_file: str = "",
    length: Annotated[int, Field(ge=3)] = 32,
) -> Arrays:
    """Load ``snli_1.0_{train,dev,test}.jsonl``.

    Parameters
    ----------
    root : Path
        The folder with the files, or the one with ``snli_1.0``.
    words, words_file, length
        As for ``sent140``, for each of the two sentences.
    """
    folder = root / _FOLDER if (root / _FOLDER).is_dir() else root
    parts = {part: _read(folder / f"{_FOLDER}_{name}.jsonl") for part, name in _PARTS.items()}
    known = vocabulary(words_file, root, words, parts["train"][0])
    (train, unknown), (test, _), (validation, _) = (_encoded(known, *parts[p], length) for p in _PARTS)
    return Arrays(
        train,
        test,
        validation,
        kind="tokens",
        class_names=_CLASSES,
        num_tokens=known.num_tokens,
        vocabulary=known.words,
        remarks=[f"{len(known.words)} words; {unknown} of the training set are unknown"],
    )


def _read(path: Path) -> Pairs:
    """Return the sentences of a file, the two of a pair one after the other, and the labels."""
    sentences: list[str] = []
    labels: list[int] = []
    for line, text in _lines(path):
        row = parse_json(text, f"{path}, line {line}")
        label, *pair = (row.get(key) if isinstance(row, dict) else None for key in _KEYS)
        if label == _NO_MAJORITY:
            continue
        if label not in _CLASSES or not all(isinstance(sentence, str) for sentence in pair):
            raise UserError(
                f"{path}, line {line}: expected sentence1, sentence2 and a gold_label, one of"
                f" {', '.join(_CLASSES)} or '-', not {shown(text)}"
            )
        sentences += map(str, pair)
        labels.append(_CLASSES.index(label))
    if not labels:
        raise UserError(f"{path} has no pair with a label")
    return sentences, labels


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.exists():
        raise UserError(
            f"dataset 'snli': there is no {path}: expected {_FOLDER}_train.jsonl, _dev.jsonl and _test.jsonl"
            f" in dataset.root, as https://nlp.stanford.edu/projects/snli/{_FOLDER}.zip has them"
        )
    # Not splitlines: sentences may contain characters that only Python takes for line ends.
    for number, text in enumerate(read_text(path, "dataset.root").split("\n"), start=1):
        if text.strip():
            yield number, text


def _encoded(
    known: Words, sentences: list[str], labels: list[int], length: int
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    tokens, unknown = known.encode(sentences, length)
    return (tokens.reshape(-1, 2 * length), np.array(labels, dtype=np.int64)), unknown
