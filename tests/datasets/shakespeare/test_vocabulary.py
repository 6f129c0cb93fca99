from hypothesis import given
from hypothesis import strategies as st

from datasets.shakespeare.sequences import encode_speech, inputs_and_targets
from datasets.shakespeare.vocabulary import LEAF, TFF


def test_leaf_has_80_symbols_in_this_order() -> None:
    assert len(set(LEAF.characters)) == LEAF.size == 80
    assert [LEAF.characters.index(symbol) for symbol in "\n A}"] == [0, 1, 25, 79]
    ids, unknown = LEAF.encode("}\n a$é\U0001f339")
    assert ids.tolist() == [79, 0, 1, 53, 1, 1, 1]  # unknown characters count as the space
    assert unknown == 3


def test_tff_has_86_characters_and_four_special_tokens() -> None:
    assert len(set(TFF.characters)) == 86
    assert TFF.encode("d\r}")[0].tolist() == [1, 86, 87]
    names = TFF.names()
    assert len(names) == TFF.size == 90
    assert (names[0], *names[87:]) == ("pad", "oov", "bos", "eos")


def test_names_are_unique_and_printable() -> None:
    for vocabulary in (LEAF, TFF):
        names = vocabulary.names()
        assert len(set(names)) == vocabulary.size
        assert all(name and name.isprintable() for name in names)


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_encoding_is_the_position_in_the_table(text: str) -> None:
    ids, unknown = LEAF.encode(text)
    assert ids.tolist() == [LEAF.characters.index(c) if c in LEAF.characters else 1 for c in text]
    assert unknown == sum(c not in LEAF.characters for c in text)


def test_speech_is_begun_ended_padded_and_shifted() -> None:
    sequences, unknown = encode_speech(["dh", "{"])
    assert unknown == 1
    newline = TFF.characters.index("\n") + 1
    assert sequences.tolist() == [[88, 1, 2, newline, 87, 89, *[0] * 75]]
    inputs, targets = inputs_and_targets(sequences)
    assert inputs.tolist() == [[88, 1, 2, newline, 87, 89, *[0] * 74]]
    assert targets.tolist() == [[1, 2, newline, 87, 89, *[-100] * 75]]


@given(st.integers(0, 400))
def test_speech_fills_whole_sequences(length: int) -> None:
    sequences, _ = encode_speech(["a" * length])
    assert sequences.shape[1] == 81
    assert (sequences > 0).sum() == length + 2
    assert len(sequences) == -(-(length + 2) // 81)
