"""The table of a search: what it means, and that what is wrong with it is one line."""

import contextlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.defaults import PROJECT_ROOT
from common.errors import UserError, one_line
from common.experiment_file import parse_experiment
from common.search.spaces import Choices, Range
from common.search.table import Search, parse_search

GOOD: dict[str, Any] = {"trials": 3, "keys": {"optimizer": {"learning-rate": {"low": 0.1, "high": 1}}}}


def parsed(text: str) -> Search:
    search = parse_experiment(text, "a.toml").search
    assert search is not None
    return search


def test_the_example_of_the_documentation_is_the_experiment() -> None:
    text = (PROJECT_ROOT / "experiments" / "search.toml").read_text(encoding="utf-8")
    assert f"```toml\n{text}```" in (PROJECT_ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    search = parsed(text)
    assert search.keys["optimizer.learning-rate"] == Range(0.005, 0.5, log=True)
    assert search.keys["local.batch-size"] == Range(8, 64, step=8, is_whole=True)
    assert search.keys["method.mu"] == Choices((0.0, 0.01, 0.1))
    assert (search.method, search.trials, search.maximize, search.during) == (
        "random",
        12,
        True,
        {"rounds": 5},
    )


def test_the_direction_follows_from_the_objective() -> None:
    assert not parse_search({**GOOD, "objective": "validation_loss"}, {}, "a").maximize
    assert not parse_search({**GOOD, "objective": "validation_mae"}, {}, "a").maximize
    assert not parse_search({**GOOD, "objective": "validation_loss_realigned"}, {}, "a").maximize  # a variant
    assert parse_search({**GOOD, "objective": "validation_top5"}, {}, "a").maximize
    assert not parse_search({**GOOD, "objective": "validation_mine", "direction": "min"}, {}, "a").maximize


LR = "optimizer.learning-rate"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search = 3", "search must be a table"),
        ("[search]\ntrials = 3", "needs a table [search.keys]"),
        ("[search]\ntrials = 3\n[search.keys]", "search.keys is empty"),
        ("[search]\nkeys = 3", "search.keys must be a table"),
        ("[search.keys]\nrounds = [1, 2]", "search.trials is missing"),
        ("[search]\ntrials = 0\n[search.keys]\nrounds = [1, 2]", "whole number from 1"),
        ("[search]\ntrials = 2.5\n[search.keys]\nrounds = [1, 2]", "whole number from 1"),
        ("[search]\ntrials = true\n[search.keys]\nrounds = [1, 2]", "whole number from 1"),
        ("[search]\ntrails = 3\ntrials = 2\n[search.keys]\nrounds = [1, 2]", "did you mean 'trials'"),
        ("[search]\nmethod = 'gird'\n[search.keys]\nrounds = [1, 2]", "did you mean 'grid'"),
        ("[search]\nmethod = ['grid']\n[search.keys]\nrounds = [1, 2]", "must be one of grid"),
        ("[search]\nmethod = 'grid'\ntrials = 3\n[search.keys]\nrounds = [1, 2]", "leave it out"),
        ("[search]\nmethod = 'grid'\n[search.keys]\nrounds = { low = 1, high = 2 }", "points = 5"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = 9, points = 3 }", "points are for"),
        ("[search]\ntrials = 2\nsampler = 'tpe'\n[search.keys]\nrounds = [1, 2]", "for method = 'optuna'"),
        ("[search]\nobjective = 'test_loss'\n[search.keys]\nrounds = [1]", "not about validation"),
        ("[search]\ntrials = 2\nobjective = 3\n[search.keys]\nrounds = [1]", "must be a string"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = []", "has no values"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = [1, 1]", "has 1 twice"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = [[1], 2]", "not a value that a key can have"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = [nan]", "not a value that a key can have"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = 3", "must be a list of values or a range"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1 }", "has no 'high'"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = 1 }", "must be below"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = inf }", "must be a number"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = '1', high = 2 }", "must be a number"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 0, high = 2, log = true }", "low above 0"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = 2, log = 1 }", "true or false"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = 2, max = 1 }", "has no 'max'"),
        ("[search]\ntrials = 2\n[search.keys]\nrounds = { low = 1, high = 9, step = 0 }", "above 0"),
        ("[search.keys]\nrounds = { low = 1, high = 9, step = 2, log = true }", "cannot be combined with"),
        ("[search]\ntrials = 2\n[search.keys]\nseed = [1, 2]", "the seed cannot be searched"),
        ("[search]\ntrials = 2\n[search.keys]\nrun.directory = ['a']", "--run-dir"),
        ("[search]\ntrials = 2\n[search.keys]\nevaluate.test = [true]", "never use the test set"),
        ("rounds = 3\n[search]\ntrials = 2\n[search.keys]\nrounds = [1]", "sets rounds, which"),
        ("[search.keys]\nrounds = [1]\n[search.during]\nrounds = 2", "both set rounds"),
        ("[axes.a.b]\nrounds = 3\n[search]\ntrials = 2\n[search.keys]\nseed = [1]", "cannot be combined"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=r"a\.toml") as error:
        parse_experiment(text, "a.toml")
    assert message in str(error.value)
    assert one_line(str(error.value)) == str(error.value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "grid", "optuna"])
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["low", "high", "log", "x"]), inner)
    ),
    max_leaves=6,
)


@given(
    table=st.dictionaries(
        st.sampled_from(["keys", "trials", "method", "during", "seed"]), anything, max_size=5
    )
)
def test_any_table_is_read_or_refused(table: dict[str, Any]) -> None:
    with contextlib.suppress(UserError):
        parse_search(table, {}, "a.toml")


def test_keys_of_any_depth_are_refused() -> None:
    key = ".".join(["a"] * 5000)
    with pytest.raises(UserError, match=r"search.keys: a.a.a"):
        parse_search({"trials": 1, "keys": nested(key)}, {}, "a.toml")


def nested(key: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name in key.split("."):
        table = {name: table or [1]}
    return table


def test_dotted_and_quoted_keys_are_the_same() -> None:
    dotted = tomllib.loads("[s]\ntrials = 1\nkeys.optimizer.learning-rate = [0.1]")["s"]
    quoted = tomllib.loads("[s]\ntrials = 1\nkeys.'optimizer.learning-rate' = [0.1]")["s"]
    assert parse_search(dotted, {}, "a") == parse_search(quoted, {}, "a")
