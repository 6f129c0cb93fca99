"""Messages to several clients as one, and what comes back."""

import contextlib

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Error, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from common.bundle import BUNDLE, Answer, pack, pack_answers, unpack, unpack_answers


def content(value: float) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord([np.array([value])]), "config": ConfigRecord({"value": value})})


def test_contents_come_back_and_one_that_is_shared_travels_once() -> None:
    shared, other = content(1.0), content(2.0)
    bundle = pack({3: shared, 0: other, 7: shared})
    assert sorted(bundle) == ["0/arrays", "0/config", "1/arrays", "1/config", BUNDLE]
    assert unpack(bundle, 8) == {3: shared, 0: other, 7: shared}


def test_answers_come_back_errors_among_them() -> None:
    bundle = pack_answers(
        {2: Answer(content(1.0)), 5: Answer(error=Error(1000, "no")), 11: Answer(content(2.0))}
    )
    answers = unpack_answers(bundle)
    assert list(answers) == [2, 5, 11]
    assert answers[2].content == content(1.0)
    assert answers[11].content == content(2.0)
    error = answers[5].error
    assert error is not None
    assert (error.code, error.reason) == (1000, "no")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "lists no places"),
        ({"places": "0", "contents": [0]}, "lists no places"),
        ({"places": [0.5], "contents": [0]}, "lists no places"),
        ({"places": [0, 1], "contents": [0]}, "do not fit"),
        ({"places": [1, 1], "contents": [0, 0]}, "do not fit"),
        ({"places": [4], "contents": [0]}, "none of the node's 4"),
        ({"places": [-1], "contents": [0]}, "none of the node's 4"),
    ],
)
def test_what_is_no_bundle_for_the_node_says_why(record: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(RecordDict({BUNDLE: ConfigRecord(record)}), 4)


NUMBERS = st.lists(st.one_of(st.integers(-1, 5)), max_size=4)
VALUES = st.one_of(
    NUMBERS, st.text("01x", max_size=3), st.lists(st.text("01x", max_size=3), max_size=4), st.integers(-1, 5)
)
NAMES = st.sampled_from(["places", "contents", "codes", "reasons"])


@given(st.dictionaries(NAMES, VALUES), st.lists(st.sampled_from(["0/a", "1/a", "/a", "x/a", "²/a", "a"])))
def test_whatever_a_bundle_holds_it_is_read_or_refused(record: dict, names: list[str]) -> None:
    records = {name: ConfigRecord({}) for name in names}
    bundle = RecordDict({**records, BUNDLE: ConfigRecord(record)})
    for read in (lambda: unpack(bundle, 3), lambda: unpack_answers(bundle)):
        with contextlib.suppress(ValueError):
            assert set(read()) == set(record["places"])
