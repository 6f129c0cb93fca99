"""``--describe``: every kind, name and key has a description; wrong words are answered with the nearest."""

import json
import re
import tomllib
from typing import Any

import pytest

from common.defaults import PROJECT_ROOT, default_values
from common.errors import UserError, nearest
from run_simulation import main
from runtimes.describe import describe, json_schema
from runtimes.describe.keys import documentation, fields, key_rows, type_words
from runtimes.describe.things import kinds, things

RATE = "optimizer.learning-rate"


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_overview_lists_every_kind_with_its_names() -> None:
    text = words(describe([]))
    for kind, names in kinds().items():
        assert f"{kind} {len(names)}: {', '.join(names)}" in text


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_everything_of_a_kind_has_a_summary(kind: str) -> None:
    text = words(describe([kind]))
    for name in kinds()[kind]:
        assert name in text
        if "<" not in name:
            assert [thing.summary for thing in things(name, kind)] != [""], name
            assert things(name, kind), name


def test_a_method_is_described_by_its_halves() -> None:
    text = words(describe(["scaffold"]))
    assert "c <- c + " in text  # the server's equation
    assert "Corrects every gradient by c - c_i" in text  # the client's
    assert "https://arxiv.org/abs/1910.06378" in text
    assert "method.server-learning-rate a number, above 0; default 1.0" in text
    assert "not covered by privacy.*" in text
    assert "not covered by privacy.*" not in words(describe(["fedprox"]))
    assert "needs model.sizes" in words(describe(["heterofl"]))


def test_a_strategy_of_flower_shows_what_a_person_may_set() -> None:
    text = words(describe(["flwr:FedAdam"]))
    assert "method.beta-1" in text
    assert "inner-class" not in text


def test_a_key_has_its_type_default_and_meaning() -> None:
    text = words(describe(["clients.fraction"]))
    assert text.startswith("clients.fraction: a number, above 0, at most 1; default 0.5")
    assert "max(1, round(C K))" in text


def test_a_parameter_of_things_chosen_by_name() -> None:
    text = words(describe(["partition.alpha"]))
    assert text.startswith("partition.alpha: a parameter of dirichlet, fed-lt")
    assert "partition.name = 'dirichlet' a number, above 0; default 0.5" in text


def test_a_section_lists_its_keys() -> None:
    text = describe(["clients"])
    for key in fields():
        assert (key in text) == key.startswith("clients.")


@pytest.mark.parametrize("key", sorted(fields()))
def test_every_key_is_described(key: str) -> None:
    assert describe([key]).startswith(f"{key}: ")
    assert documentation().get(key), f"no page has a row of {key}"


def test_every_row_of_a_table_of_keys_is_about_one_key() -> None:
    cells = [cell for cell, _ in key_rows()]
    assert len(cells) > len(fields())
    assert [cell for cell in cells if re.search(r"`,? `|` and", cell)] == []
    texts = [documentation()[key] for key in fields()]
    assert [text for text in texts if texts.count(text) > 1] == []


def test_a_key_of_two_tables_has_both_meanings() -> None:
    text = documentation()["dataset.task"]
    assert "`csv` and `npz`: `auto`" in text
    assert "of `shakespeare`: `next-character`" in text
    assert documentation()["method.head-steps"].startswith("steps of Adam")  # after a column of defaults


def test_a_key_has_its_row_and_its_point_below_the_table() -> None:
    text = words(describe(["optimizer.learning-rate-scaling"]))
    assert "`none`, `sqrt` or `linear`, from the reference batch size" in text
    assert "`sqrt` multiplies it by sqrt(B / B_ref)" in text
    assert "`linear` multiplies it by B / B_ref (Goyal et al. 2017)." in text


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("mooon", "moon"),
        ("clients.fractoin", "clients.fraction"),
        ("partition.alpa", "partition.alpha"),
        ("partiton.alpa", "partition.alpha"),
        ("method.nmae", "method.name"),
        ("method.wieghting", "method.weighting"),
    ],
)
def test_wrong_words_are_answered_with_the_nearest(word: str, right: str) -> None:
    with pytest.raises(UserError, match=f"there is no '{word}'; did you mean '{right}'"):
        describe([word])


@pytest.mark.parametrize(
    ("key", "known", "right"),
    [
        (
            "local.learning-rate",
            ["privacy.clip-learning-rate", "optimizer.learning-rate"],
            "optimizer.learning-rate",
        ),
        ("lr", ["clients.count", "optimizer.learning-rate"], "optimizer.learning-rate"),
        ("local.batchsize", ["evaluate.batch-size", "local.batch-size"], "local.batch-size"),
        ("rouds", ["rounds", "seed"], "rounds"),
        ("partition.alpa", ["partition.name", "participation.alpaka"], "participation.alpaka"),
    ],
)
def test_nearest_prefers_the_same_last_part_and_section(key: str, known: list[str], right: str) -> None:
    assert nearest(key, known) == f"; did you mean '{right}'?"
    assert nearest("zzz", known) == ""
    assert nearest(f"{known[0].partition('.')[0]}.zzz", known) == ""


def test_types_in_words() -> None:
    assert (
        type_words({"type": "number", "minimum": 0, "exclusiveMaximum": 1}) == "a number, at least 0, below 1"
    )
    assert type_words({"enum": ["a", "b"]}) == 'one of "a", "b"'
    assert type_words({"anyOf": [{"type": "integer"}, {"type": "boolean"}]}) == "an integer or true or false"
    assert type_words({}) == "a value"


def admits(schema: dict[str, Any], value: Any) -> bool:
    """Check a value by the part of JSON schema that ours uses."""
    if "anyOf" in schema:
        return any(admits(part, value) for part in schema["anyOf"])
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(
            admits(known[key], inner) if key in known else bool(others) for key, inner in value.items()
        )
    if "enum" in schema:
        return value in schema["enum"]
    types = {"integer": int, "number": (int, float), "string": str, "boolean": bool}
    right = types.get(schema.get("type", ""), object)
    return isinstance(value, right) and (right is bool or not isinstance(value, bool) or right is object)


def test_the_schema_admits_every_experiment_file_and_no_unknown_key() -> None:
    schema = json_schema()
    files = sorted((PROJECT_ROOT / "experiments").rglob("*.toml"))
    assert len(files) > 40
    for file in files:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        assert "entries" in content or admits(schema, content), file.name  # those are queues
    assert not admits(schema, {"roundz": 3})
    assert not admits(schema, {"clients": {"cuont": 3}})
    assert not admits(schema, {"rounds": "three"})
    flat = default_values()["clients.fraction"]
    assert schema["properties"]["clients"]["properties"]["fraction"]["default"] == flat


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--describe", "moon"]) == 0
    assert "MOON" in capsys.readouterr().out
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"]
    assert main(["--describe", "mooon"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        ("metrics", "one of 1, chosen by metrics"),
        ("clock", "one of 1, chosen by clock.profile"),
        ("plots", "all are used in every run"),
    ],
)
def test_a_kind_says_how_one_is_chosen(kind: str, chosen: str) -> None:
    assert describe([kind]).startswith(f"{kind}: {chosen}\n")


def test_a_plot_is_described_though_no_key_names_it() -> None:
    assert describe(["head-norms"]).startswith("head-norms (plot)\n\nRow norms of heads by class")
    assert "plots" not in json_schema()["properties"]
