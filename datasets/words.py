"""Sentences as word ids, with a vocabulary built from texts or read from a file."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import read_text

PADDING, UNKNOWN, BEGIN, END = range(4)
_FIRST = 4  # id of the first word, after the special tokens
_WORD = re.compile(r"[\w']+|[^\w\s]")

Tokens = npt.NDArray[np.int32]


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case; each punctuation mark is a word."""
    return _WORD.findall(text.lower())


@dataclass(frozen=True)
class Words:
    """A vocabulary: ids for padding, unknown words, beginning and end of a sentence, then the words."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], most: int) -> "Words":
        """Build it from the most frequent words of texts, ties in alphabetical order."""
        counts = Counter(word for text in texts for word in split_words(text))
        return cls(tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most]))

    @classmethod
    def from_file(cls, path: Path, most: int) -> "Words":
        """Read the first words of a file with one word at the start of each line, such as GloVe's.

        Texts are in lower case: of words that differ only in capitalisation, the first one counts.

        Raises
        ------
        UserError
            If the file cannot be read, or contains a word twice.
        """
        lines = read_text(path, "dataset.words-file").split("\n")
        words = [field[0] for line in lines if (field := line.split(maxsplit=1))]
        if double := next((word for word, count in Counter(words).items() if count > 1), ""):
            raise UserError(f"dataset.words-file: {path} has the word {double!r} twice")
        return cls(tuple(dict.fromkeys(word.lower() for word in words))[:most])

    @property
    def num_tokens(self) -> int:
        """Number of token ids."""
        return _FIRST + len(self.words)

    def encode(self, texts: Sequence[str], length: int) -> tuple[Tokens, int]:
        """Return texts as ids, int32 (texts, length), and how many of their words are unknown.

        Each text has a mark for its beginning and one for its end; it is truncated or padded to the length.
        """
        number = {word: _FIRST + index for index, word in enumerate(self.words)}
        tokens = np.full((len(texts), length), PADDING, dtype=np.int32)
        unknown = 0
        for row, text in zip(tokens, texts, strict=True):
            ids = [number.get(word, UNKNOWN) for word in split_words(text)[: length - 2]]
            row[: len(ids) + 2] = [BEGIN, *ids, END]
            unknown += ids.count(UNKNOWN)
        return tokens, unknown


@dataclass(frozen=True)
class Sentences:
    """The encoder of texts of a known vocabulary, for ``datasets.arrays.Arrays``."""

    known: Words
    length: int

    @property
    def num_tokens(self) -> int:
        """Number of token ids."""
        return self.known.num_tokens

    def encoded(self, texts: Sequence[str]) -> Tokens:
        """Return the texts as ids, (texts, length)."""
        return self.known.encode(texts, self.length)[0]

    def remark(self, train: Tokens) -> str:
        """Return the size of the vocabulary, and how many words are not in it."""
        unknown = int((train == UNKNOWN).sum())
        return f"{len(self.known.words)} words; {unknown} of the training set are unknown"


def vocabulary(words_file: str, root: Path, most: int, texts: Iterable[str]) -> Words:
    """Return the vocabulary that the configuration asks for: from a file, or from the training texts."""
    return Words.from_file(root / words_file, most) if words_file else Words.of(texts, most)
