import pytest

from analysis.comparison.compare import main, run_table, seed_table
from analysis.comparison.lengths import different_lengths
from analysis.comparison.participation import main as participation
from analysis.comparison.report import main as report
from analysis.comparison.sweep_report import write_report
from analysis.reading.runs import load_run
from common.command_line import make_console


@pytest.fixture
def run_of(make_run):
    """Return a function that makes a run with a number of rounds, and loads it."""

    def run(name, rounds, **config):
        return load_run(
            make_run(name, [0.1 + 0.05 * number for number in range(rounds + 1)], **config), "test_accuracy"
        )

    return run


def test_labels_stand_behind_their_number_of_rounds(run_of):
    a, b, c, d = (run_of(name, rounds) for name, rounds in (("a", 2), ("b", 4), ("c", 2), ("d", 3)))
    start = "not all after the same number of rounds: "
    assert different_lengths([("a", [a]), ("c", [c])]) == ""
    assert different_lengths([("a", [a]), ("b", [b])]) == f"{start}4 (b), 2 (a)"
    assert different_lengths([("a", [a]), ("b", [b]), ("c", [c])]) == f"{start}4 (b), 2 (the other 2)"
    assert different_lengths([("a", [a, b]), ("c", [c])]) == f"{start}4 (a), 2 (the other 2)"
    assert different_lengths([("a", [a, b, d])]) == f"{start}2 to 4"
    many = [(f"run {rounds}", [run_of(f"run {rounds}", rounds)]) for rounds in range(2, 8)]
    assert different_lengths(many) == f"{start}2 to 7"


def test_every_table_of_a_sweep_of_which_a_part_was_continued_says_so(run_of, tmp_path, capsys):
    for name, rounds in (("sweep/x", 2), ("sweep/y", 4), ("sweep/z", 2)):
        run_of(name, rounds, **{"partition.alpha": rounds})
        (tmp_path / name / "config.toml").touch()
    sweep = tmp_path / "sweep"
    write_report(sweep, make_console())
    remark = "not all after the same number of rounds: 4 (y), 2 (the other 2)"
    assert remark in " ".join(capsys.readouterr().out.split())
    assert remark in (sweep / "table.md").read_text()
    assert remark in (sweep / "table.tex").read_text()
    assert main([str(sweep), "--markdown"]) == 0
    assert remark in capsys.readouterr().out
    assert report([str(sweep), "--out", str(tmp_path / "r.md")]) == 0
    assert f"The final values are {remark}." in (tmp_path / "r.md").read_text()
    with pytest.warns(UserWarning, match="the final values are not all after the same number of rounds"):
        assert participation([str(sweep)]) == 0


def test_seeds_that_stopped_early_have_a_range_of_rounds(run_of):
    runs = [run_of("a", 2), run_of("b", 4, seed=1), run_of("c", 3, seed=2)]
    header, rows = seed_table(runs, "test_accuracy")
    assert [row[header.index("rounds")] for row in rows] == ["2 to 4"]
    header, rows = run_table(runs, "test_accuracy")
    assert [row[header.index("rounds")] for row in rows] == ["2", "4", "3"]
