"""The settings of a report, by section."""

from analysis.comparison.report_settings import differences
from analysis.comparison.reported import Reported
from analysis.page.parts import Table, Text
from analysis.reading.runs import load_run


def reported(*paths):
    runs = [(path.name, [load_run(path, "test_accuracy")]) for path in paths]
    return Reported("a report", "test_accuracy", runs)


def test_a_run_shows_a_table_for_each_section_and_keys_without_one_first(make_run):
    config = {"local__epochs": 7, "method__mu": 0.3, "rounds": 4321, "local__momentum-like": 1}
    note, first, *others = differences(reported(make_run(**config)))
    assert isinstance(note, Text)
    assert first == Table(["experiment", "value"], [["rounds", "4321"]])
    assert Table(["local", "value"], [["local.epochs", "7"], ["local.momentum-like", "1"]]) in others
    assert Table(["method", "value"], [["method.mu", "0.3"]]) in others


def test_several_runs_show_where_they_differ(make_run):
    runs = [make_run(name, method__name=name, rounds=4) for name in ("fedavg", "scaffold")]
    (table,) = differences(reported(*runs))
    assert table == Table(["run", "method.name"], [["fedavg", "fedavg"], ["scaffold", "scaffold"]])
