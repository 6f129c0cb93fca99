"""What an accuracy has cost, and medians with bands."""

import pandas as pd
import pytest

from analysis.comparison.costs import cost_table, main, read_costs
from analysis.comparison.median_band import band, final_text, limits
from analysis.reading.runs import load_run
from tests.analysis.conftest import picture_is_drawn


def test_median_and_band_of_three_seeds():
    curves = [pd.Series(values, index=[0, 5]) for values in ([1.0, 2.0], [3.0, 1.0], [2.0, 6.0])]
    table = band(curves)
    assert table["median"].tolist() == [2, 2]
    assert list(zip(table["low"], table["high"], strict=True)) == [(1, 3), (1, 6)]
    assert limits([table]) == pytest.approx((0.75, 6.2625))
    assert final_text(curves, 0) == "3 +/- 3"


def test_costs_add_up(make_run):
    costs = read_costs(make_run())
    assert costs["rounds"].tolist() == [0, 1, 2, 3, 4]
    assert costs["local_steps"].tolist() == [0, 10, 20, 30, 40]  # from clients.csv: two clients of 5 steps
    assert costs["megabytes"].tolist() == pytest.approx([0.0035 * rounds for rounds in range(1, 6)])
    assert costs["seconds"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert "virtual_seconds" not in costs


def test_counted_steps_and_virtual_time_are_used(make_run):
    run = make_run()
    table = pd.read_csv(run / "metrics.csv")
    table.assign(local_steps=[None, 7, 7, 7, 7], virtual_seconds=[None, 1, 2, 3, 4]).to_csv(
        run / "metrics.csv", index=False
    )
    costs = read_costs(run)
    assert costs["local_steps"].tolist() == [0, 7, 14, 21, 28]
    assert costs["virtual_seconds"].tolist() == [0, 1, 3, 6, 10]


def test_table_with_and_without_a_target(make_run):
    runs = [
        load_run(make_run("a", seed=0), "test_accuracy"),
        load_run(make_run("b", seed=1, accuracies=(0.1, 0.7, None, 0.8, 0.8)), "test_accuracy"),
        load_run(
            make_run("c", method__name="fedprox", accuracies=(0.1, 0.2, None, 0.3, 0.4)), "test_accuracy"
        ),
    ]
    header, rows = cost_table(runs)
    assert header[:3] == ["run", "final test_accuracy", "rounds"]
    assert [row[:3] for row in rows] == [
        ["fedavg (2 seeds)", "0.7000 +/- 0.1000", "4"],
        ["fedprox", "0.4000", "4"],
    ]
    _, rows = cost_table(runs, target=0.65)
    assert [row[2] for row in rows] == ["2", "-"]


def test_the_command_draws_a_panel_for_each_cost(make_run, tmp_path, capsys):
    runs = [str(make_run(name, seed=seed)) for seed, name in enumerate("ab")]
    assert main([*runs, "--out", str(tmp_path / "costs.png")]) == 0
    assert picture_is_drawn(tmp_path / "costs.png")
    assert "local steps" in capsys.readouterr().out
    assert main([str(tmp_path / "nothing")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
