"""The curves of the golden runs are those that are kept, and a wrong learning rate would show."""

from pathlib import Path

import pandas as pd
import pytest

from clients.registry import available_methods
from tests.golden.renew import changed_weights
from tests.golden.runs import (
    LEARNING_RATE,
    RUNS,
    curve,
    differences,
    golden,
    learning_rate,
    read_curve,
)


@pytest.mark.parametrize("name", RUNS)
def test_the_curve_is_the_kept_one(name: str, tmp_path: Path) -> None:
    problems = differences(read_curve(golden(name)), curve(name, tmp_path / "run"))
    assert not problems, f"python -m tests.golden.renew {name} keeps the new numbers, if they are meant"


# One of each kind; that it holds for every method is seen where the runs are chosen (``renew --spread``).
@pytest.mark.parametrize(
    "name", ["fedavg", "fedadam", "scaffold", "fedloge", "fedrep", "fedbuff", "heteroavg"]
)
def test_ten_per_cent_of_the_learning_rate_are_seen(name: str, tmp_path: Path) -> None:
    kept = read_curve(golden(name))
    wrong = curve(name, tmp_path / "run", **{LEARNING_RATE: 1.1 * learning_rate(name)})
    assert differences(kept, wrong) != []


@pytest.mark.parametrize("name", ["fedavg", "heteroavg", "fedloge"])
def test_rounding_is_not_seen(name: str, tmp_path: Path) -> None:
    with changed_weights(draw=7):
        assert differences(read_curve(golden(name)), curve(name, tmp_path / "run")) == []


def test_every_method_has_a_curve() -> None:
    assert sorted({*available_methods()} - {*RUNS}) == []
    kept = {file.stem for file in Path(golden("x")).parent.glob("*.csv")}
    assert kept == {*RUNS}


@pytest.mark.parametrize(
    ("column", "value", "count"),
    [("test_loss", 2.01, 1), ("test_loss", 2.0001, 0), ("clients", 5, 1), ("test_accuracy", 0.53, 1)],
)
def test_what_counts_as_a_difference(column: str, value: float, count: int) -> None:
    kept = pd.DataFrame({"round": [1], "test_loss": [2.0], "clients": [4], "test_accuracy": [0.5]})
    found = kept.astype(float).assign(**{column: value})
    assert len(differences(kept.set_index("round"), found.set_index("round"))) == count


def test_missing_columns_rounds_and_values_are_differences() -> None:
    kept = pd.DataFrame({"round": [1, 2], "test_loss": [2.0, 1.0]}).set_index("round")
    assert differences(kept, kept.drop(columns="test_loss")) == ["there is no column test_loss"]
    assert differences(kept, kept.loc[:1]) == ["rounds [1] instead of [1, 2]"]
    assert len(differences(kept, kept.assign(test_loss=float("nan")))) == 2
    assert differences(kept, kept.assign(another=1.0)) == []
