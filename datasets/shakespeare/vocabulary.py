"""The two character tables in use: LEAF's 80 symbols, and the 90 tokens of TensorFlow Federated."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TokenArray = npt.NDArray[np.uint8]

_LEAF_SYMBOLS = "\n !\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}"
_TFF_CHARACTERS = "dhlptx@DHLPTX $(,048cgkoswCGKOSW[_#'/37;?bfjnrvzBFJNRVZ\"&*.26:\naeimquyAEIMQUY]!%)-159\r"
PAD, OUT_OF_VOCABULARY, BEGIN, END = 0, 87, 88, 89

_NAMES = {"\n": "newline", " ": "space", "\r": "carriage return"}


@dataclass(frozen=True)
class Vocabulary:
    """A table of characters and their ids.

    Parameters
    ----------
    characters : str
        The known characters.
    first : int
        The id of the first of them; the others follow.
    unknown : int
        The id of any other character.
    size : int
        Number of ids, special tokens included.
    """

    characters: str
    first: int
    unknown: int
    size: int

    def encode(self, text: str) -> tuple[TokenArray, int]:
        """Return the ids of the characters of a text, and how many of these are unknown."""
        codes = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype=np.uint32)
        table = np.full(257, 255, dtype=np.uint8)
        table[[ord(character) for character in self.characters]] = np.arange(
            self.first, self.first + len(self.characters), dtype=np.uint8
        )
        ids = table[np.minimum(codes, 256)]
        is_unknown = ids == 255
        ids[is_unknown] = self.unknown
        return ids, int(is_unknown.sum())

    def names(self) -> tuple[str, ...]:
        """Return a printable name for each id."""
        special = {PAD: "pad", OUT_OF_VOCABULARY: "oov", BEGIN: "bos", END: "eos"}
        names = {self.first + i: _NAMES.get(char, char) for i, char in enumerate(self.characters)}
        return tuple(names.get(token, special.get(token, "")) for token in range(self.size))


# LEAF looks unknown characters up as -1, which an embedding cannot take: here they count as the space.
LEAF = Vocabulary(_LEAF_SYMBOLS, first=0, unknown=1, size=80)
TFF = Vocabulary(_TFF_CHARACTERS, first=1, unknown=OUT_OF_VOCABULARY, size=90)
