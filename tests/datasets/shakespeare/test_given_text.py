"""Texts that a person gives to a trained model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from datasets.given_inputs import InputReader
from datasets.shakespeare.given_text import given_text
from datasets.shakespeare.vocabulary import BEGIN, LEAF, PAD, TFF


def test_a_long_text_is_the_window_before_what_follows():
    text = "To be, or not to be: that is the question. " * 3
    found = given_text(text, LEAF.names(), 80)
    assert np.array_equal(found.ids, LEAF.encode(text[-80:])[0])
    assert (found.position, found.unknown, found.filled) == (79, 0, 0)


def test_a_short_text_has_spaces_before_it_or_the_token_of_beginnings():
    found = given_text("ab", LEAF.names(), 80)
    assert found.filled == 78
    reader = InputReader("tokens", (80,), classes=LEAF.names())
    short = "shorter than the 80 characters that the model takes, so"
    [single] = reader.read([], ["x" * 79]).remarks
    assert single.endswith(f"x: {short} 1 space was put before it")
    assert reader.read([], ["ab", "x" * 80]).remarks == [
        f"ab: {short} 78 spaces were put before it",
    ]
    assert np.array_equal(found.ids, LEAF.encode(" " * 78 + "ab")[0])
    found = given_text("ab", TFF.names(), 80)
    assert found.ids[:4].tolist() == [BEGIN, *TFF.encode("ab")[0].tolist(), PAD]
    assert found.position == 2


@given(st.text(min_size=1, max_size=200), st.sampled_from([LEAF, TFF]))
def test_what_is_asked_for_is_the_last_character(text, vocabulary):
    found = given_text(text, vocabulary.names(), 80)
    assert found.ids.shape == (80,)
    assert found.ids[found.position] == vocabulary.encode(text)[0][-1]


@pytest.mark.parametrize(("text", "classes"), [("", LEAF.names()), ("a", ("yes", "no"))])
def test_what_cannot_be_read_is_one_line(text, classes):
    with pytest.raises(UserError):
        given_text(text, classes, 80)
