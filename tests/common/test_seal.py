import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.seal import seal, unseal

CONTENT = {"round": 4, "best": {"test_accuracy": 0.1 + 0.2, "nan": float("nan")}, "ids": {3: [1, None]}}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), json_values))
def test_what_was_sealed_comes_back(content: dict[str, object]) -> None:
    assert unseal(seal(content)) == content


def test_keys_become_strings_and_not_a_number_survives() -> None:
    content = unseal(seal(CONTENT))
    assert content["ids"] == {"3": [1, None]}
    assert content["best"]["nan"] != content["best"]["nan"]


def test_every_changed_value_is_noticed() -> None:
    text = seal(CONTENT).decode()
    for position, character in enumerate(text):
        if not character.isspace():
            changed = text[:position] + ("1" if character != "1" else "2") + text[position + 1 :]
            with pytest.raises(ValueError, match=r"hash|not JSON"):
                unseal(changed.encode())


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"4", b"null", b"\xff\xfe", b"[" * 100_000, b'{"sha256": 4}']
)
def test_other_content_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"hash|not JSON"):
        unseal(text)


def test_the_hash_cannot_be_left_out() -> None:
    content = json.loads(seal(CONTENT))
    del content["sha256"]
    with pytest.raises(ValueError, match="no hash of itself"):
        unseal(json.dumps(content).encode())
