import pytest

from common.config_values import merge, parse_assignment, parse_toml, to_toml
from common.errors import UserError
from common.sections import Value


def test_a_layer_that_sets_one_budget_switches_the_other_off() -> None:
    assert merge({"local.steps": 7})["local.epochs"] == 0
    assert merge({"local.steps": 7}, {"local.epochs": 3})["local.steps"] == 0
    last = merge({"local.epochs": 3}, {"local.steps": 7})
    assert (last["local.epochs"], last["local.steps"]) == (0, 7)


def test_other_layers_leave_the_budget_alone() -> None:
    merged = merge({"local.steps": 7}, {"optimizer.learning-rate": 0.2})
    assert (merged["local.epochs"], merged["local.steps"]) == (0, 7)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("method.name=fedprox", ("method.name", "fedprox")),
        ("method.name='fedprox'", ("method.name", "fedprox")),
        ('dataset.root="a b"', ("dataset.root", "a b")),
        ("dataset.root=/data/x=y", ("dataset.root", "/data/x=y")),
        ("run.directory=", ("run.directory", "")),
        ("run.directory=2026-01-01", ("run.directory", "2026-01-01")),
        ("partition.name = iid", ("partition.name", "iid")),
        ("method.x=[1]", ("method.x", "[1]")),
        ("optimizer.nesterov=true", ("optimizer.nesterov", True)),
        ("optimizer.nesterov=false", ("optimizer.nesterov", False)),
        ("optimizer.nesterov=False", ("optimizer.nesterov", "False")),
        ("rounds=10", ("rounds", 10)),
        ("seed=1_000", ("seed", 1000)),
        ("optimizer.learning-rate=1e-3", ("optimizer.learning-rate", 0.001)),
        (" optimizer.learning-rate = 0.5 ", ("optimizer.learning-rate", 0.5)),
    ],
)
def test_assignments_are_toml_or_text(assignment: str, expected: tuple[str, Value]) -> None:
    key, value = parse_assignment(assignment)
    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("assignment", ["rounds", "", "=3", "  = 3"])
def test_an_assignment_needs_a_key_and_a_value(assignment: str) -> None:
    with pytest.raises(UserError, match="--set takes key=value"):
        parse_assignment(assignment)


@pytest.mark.parametrize(
    "text",
    ["", "'", '"', "\\", "a\nb\r\n", "\x00\x1f\x7f\x80", "ü😀\u2028\ufeff", "# no comment", "= []", "'''"],
)
def test_odd_strings_survive_toml(text: str) -> None:
    assert parse_toml(to_toml({"dataset.root": text}), "x") == {"dataset.root": text}


def test_bad_toml_names_its_source() -> None:
    with pytest.raises(UserError, match=r"^my\.toml is not valid TOML"):
        parse_toml("x = ", "my.toml")
