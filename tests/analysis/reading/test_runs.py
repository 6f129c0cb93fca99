"""Runs through one metric."""

import json
import math

import pytest

from analysis.reading.runs import load_run, mean_text
from common.errors import UserError


@pytest.mark.parametrize("rounds", [3, 20])
def test_rows_of_another_round_than_the_summary_are_no_final_values(make_run, rounds):
    run_dir = make_run()  # rounds 0 to 4
    summary = json.loads((run_dir / "summary.json").read_text())
    (run_dir / "summary.json").write_text(json.dumps(summary | {"rounds": rounds}))

    with pytest.raises(
        UserError, match=f"ends with round 4, but summary.json is of round {rounds}: .*--resume"
    ):
        load_run(run_dir, "test_accuracy")


def test_rows_in_another_order_have_the_same_final_value(make_run):
    path = make_run() / "metrics.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(rows), ""]))

    assert load_run(path.parent, "test_accuracy").final == 0.6


def test_mean_and_deviation_as_text():
    assert mean_text([1.0], 2) == "1.00"
    assert mean_text([1.0, 3.0], 2) == "2.00 ± 1.41"
    assert mean_text([1e30, 3e30], 2) == "2e+30 ± 1.4e+30"


@pytest.mark.parametrize(("rounds", "mean"), [(9, math.nan), (10, 0.55), (12, 0.75)])
def test_the_mean_of_the_last_ten_needs_ten_evaluations_after_round_0(make_run, rounds, mean):
    run = load_run(make_run("a", tuple(number / 10 for number in range(rounds + 1))), "test_accuracy")
    assert run.last_ten == pytest.approx(mean, nan_ok=True)


def test_a_mean_that_lacks_a_value_is_a_dash():
    assert mean_text([0.5, math.nan], 4) == "-"
