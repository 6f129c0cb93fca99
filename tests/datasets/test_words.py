"""Vocabularies that are read from a file."""

from pathlib import Path

import pytest

from common.errors import UserError
from datasets.words import Words


def written(path: Path, *words: str) -> Path:
    """Write a file as GloVe's, with numbers after each word."""
    path.write_text("".join(f"{word} 0.1 -0.2\n" for word in words))
    return path


def test_of_words_that_differ_in_capital_letters_the_first_counts(tmp_path: Path) -> None:
    path = written(tmp_path / "words.txt", "The", "cat", "the", "CAT", "sat", "mat")
    assert Words.from_file(path, 3).words == ("the", "cat", "sat")


def test_a_word_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "words.txt", "cat", "the", "cat")
    with pytest.raises(UserError, match=r"dataset\.words-file: .*words\.txt has the word 'cat' twice"):
        Words.from_file(path, 2)
