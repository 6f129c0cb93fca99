import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.config import Config
from common.config_values import merge, parse_assignment, parse_toml
from common.errors import UserError, print_error
from common.experiment_file import parse_experiment
from common.files import read_text
from common.reading import check_arguments, comma_list, parse_json, parse_toml_tables

# Pieces of TOML and JSON, put together at random: most are damaged in some way.
PIECES = st.lists(
    st.sampled_from(
        ["rounds", "local", ".", "lr", " = ", "[", "]", "axes", "cells", "report", "published", "{", "}", '"',
         "1", "1e999", "nan", "-", "9" * 5000, "0x" + "f" * 5000, "\n", ",", "true", "1979-05-27", "a", "*",
         "\ufeff", "'", "#", "\\", "\\ud800", "overrides", "metrics", "[" * 3000, "{a=" * 3000, "\x00", "é"]
    ),
    max_size=12,
).map("".join)  # fmt: skip
BYTES = st.one_of(
    st.binary(max_size=60), PIECES.map(str.encode), PIECES.map(lambda text: text.encode("utf-16"))
)


def one_line(call: Callable[[], object], capsys: pytest.CaptureFixture[str] | None = None) -> None:
    """What a reader does with any input: a value, or one line."""
    try:
        call()
    except UserError as error:
        if capsys:
            print_error(error)
            assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


@given(BYTES)
@settings(max_examples=300)
def test_any_bytes_as_an_experiment_file_are_read_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    one_line(
        lambda: [merge(p.overrides) for p in parse_experiment(read_text(file), "x.toml").points()], capsys
    )
    one_line(lambda: Config.from_flat(merge(parse_toml(read_text(file), "x.toml"))), capsys)
    one_line(lambda: parse_json(read_text(file), "x.json"), capsys)


@given(
    st.one_of(PIECES, st.text(st.characters(codec=None), max_size=40)),
    st.sampled_from(["optimizer.learning-rate", "seed", "", "x"]),
)
@settings(max_examples=300)
def test_any_assignment_is_a_value_or_one_line(text: str, key: str) -> None:
    one_line(lambda: Config.from_flat(merge(dict([parse_assignment(f"{key}={text}")]))))
    one_line(lambda: Config.from_flat(merge({"overrides": text})))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfrounds = 3\r\n")
    assert parse_toml_tables(read_text(tmp_path / "x"), "x") == {"rounds": 3}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "{", "\ufeff"])
def test_json_beyond_all_sense(text: str) -> None:
    with pytest.raises(UserError, match="is not valid JSON"):
        parse_json(text, "x.json")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "1" * 5000, "a = {b = {c"])
def test_toml_beyond_all_sense(text: str) -> None:
    with pytest.raises(UserError, match="is not valid TOML"):
        parse_toml_tables(text, "x.toml")


def test_keys_of_any_depth_are_unknown_keys_and_not_recursion() -> None:
    with pytest.raises(UserError, match="unknown key"):
        Config.from_flat(merge(parse_toml(".".join("a" * 1500) + " = 1", "x.toml")))


def test_a_key_in_quotes_does_not_overrule_the_same_key() -> None:
    with pytest.raises(UserError, match=r"x.toml sets optimizer.learning-rate twice"):
        parse_toml('"optimizer.learning-rate" = 0.1\noptimizer.learning-rate = 0.2\n', "x.toml")


@pytest.mark.parametrize("text", ["1" * 25, str(2**63), "-" + str(2**63 + 1), "0x" + "f" * 5000])
def test_integers_beyond_64_bits_are_refused_by_their_key(text: str) -> None:
    with pytest.raises(UserError, match=r"^rounds "):
        Config.from_flat(merge(dict([parse_assignment(f"rounds={text}")])))


def test_an_assignment_with_further_lines_does_not_lose_them() -> None:
    with pytest.raises(UserError, match=r"optimizer\.learning-rate must be a valid number"):
        Config.from_flat(merge(dict([parse_assignment("optimizer.learning-rate=0.1\nrounds=5")])))


@pytest.mark.parametrize("argument", ["--run-dir=\udcff", "method.name=\ud800", "a\0b"])
def test_arguments_that_are_not_text(argument: str) -> None:
    with pytest.raises(UserError, match="not UTF-8 text"):
        check_arguments(["--resume", argument])
    check_arguments(["--run-dir", "Größe 🌷"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
)
def test_what_json_writes_is_read(value: object) -> None:
    assert json.dumps(parse_json(json.dumps(value), "x")) == json.dumps(value)


def test_lists_have_no_empty_name_and_none_twice() -> None:
    assert comma_list("metrics", "") == comma_list("metrics", " ") == []
    assert comma_list("metrics", " a, b c ") == ["a", "b c"]
    for text in (",", "a,", ",a", "a,,b"):
        with pytest.raises(UserError, match=r"metrics = .* has an empty name"):
            comma_list("metrics", text)
    with pytest.raises(UserError, match="metrics = 'a,b, a' names 'a' twice"):
        comma_list("metrics", "a,b, a")
