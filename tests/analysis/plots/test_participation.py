"""Who took part: the report of one run and the comparison of several."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.participation import main, participation_table, scheme_label
from analysis.plots.participation import effective_number, gini, num_seen
from analysis.plots.participation import plot as plot_participation
from analysis.reading.run_directory import NoDataError, read_participation
from analysis.reading.runs import load_run
from tests.analysis.conftest import picture_is_drawn


def write_participation(run_dir, probabilities, inclusion):
    pd.DataFrame(
        {"client_id": range(len(probabilities)), "probability": probabilities, "inclusion": inclusion}
    ).to_csv(run_dir / "participation.csv", index=False)


@pytest.fixture
def make_skewed(make_run):
    """Return a function that makes a run of skewed participation."""

    def make(name, gamma, accuracies=(0.1, 0.4, 0.6), **config):
        run_dir = make_run(
            name, accuracies, participation__name="skewed", participation__gamma=gamma, **config
        )
        write_participation(run_dir, [0.1, 0.5, 0.4, 0.0], [0.3, 0.9, 0.8, 0.0])
        return run_dir

    return make


def test_gini():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(pd.Series([1, 2, 3])) == pytest.approx(2 / 9)  # mean difference 8/9 over twice the mean
    assert (
        gini(np.array([3, 1, 2])) == gini(np.array([1, 2, 3])) == pytest.approx(gini(np.array([10, 20, 30])))
    )


def test_numbers_of_clients():
    assert effective_number(np.array([0.5, 0.3, 0.2])) == pytest.approx(1 / 0.38)
    assert num_seen(pd.Series([0, 4, 0, 1])) == 2


def test_the_distribution_is_drawn_above_the_counts(make_run, make_skewed):
    plain = plot_participation(make_run("plain"))
    skewed = plot_participation(make_skewed("skewed", 0.5))
    assert picture_is_drawn(plain, 400)
    assert picture_is_drawn(skewed, 400)

    def height(path):
        from matplotlib.image import imread

        return imread(path).shape[0]

    assert height(skewed) > 1.5 * height(plain)


def test_equal_probabilities_need_no_picture(make_run):
    run_dir = make_run()
    plain = plot_participation(run_dir).read_bytes()
    write_participation(run_dir, [0.25] * 4, [0.5] * 4)
    assert plot_participation(run_dir).read_bytes() == plain


def test_the_table(make_run, make_skewed):
    runs = [
        make_run("uniform", participation__name="uniform", participation__gamma=1.0),
        make_skewed("b", 5.0),
        make_skewed("a", 0.1),
    ]
    header, rows = participation_table([load_run(path, "test_accuracy") for path in runs], "test_accuracy")
    assert header[1:3] == ["participation", "effective clients"]
    assert [row[0] for row in rows] == ["a", "b", "uniform"]
    assert rows[0][1:] == ["gamma 0.1", "2.4", "2.5", "3 of 4", "4", "0.438", "0.6000"]
    assert rows[2][1:3] == ["uniform", "-"]


def test_labels_tell_parameters_apart(make_run):
    def label(**config):
        name = f"run{len(labels)}"
        labels.append(scheme_label(load_run(make_run(name, **config), "test_accuracy")))

    labels: list[str] = []
    label(participation__name="uniform", participation__gamma=1.0)
    label(participation__name="skewed", participation__gamma=0.5)
    label(participation__name="skewed", participation__gamma=0.5, participation__correction="none")
    label(participation__name="skewed", participation__gamma=1, participation__correction="inverse-inclusion")
    label(participation__name="power-of-choice", participation__gamma=1.0, participation__candidates=30)
    assert labels == [
        "uniform", "gamma 0.5", "gamma 0.5", "gamma 1, inverse-inclusion", "power-of-choice, candidates 30",
    ]  # fmt: skip


class TestCommand:
    def run(self, run_dirs, out) -> list[str]:
        assert main([*map(str, run_dirs), "--out", str(out)]) == 0
        return sorted(path.name for path in out.parent.iterdir())

    def test_pictures(self, make_run, make_skewed, tmp_path: Path, capsys):
        run_dirs = [
            make_skewed("a0", 0.1),
            make_skewed("a1", 0.1, (0.1, 0.3, 0.5), seed=1),
            make_skewed("b", 5),
            make_run("u", participation__name="uniform", participation__gamma=1.0),
        ]
        out = tmp_path / "out" / "cmp.png"
        assert self.run(run_dirs, out) == [
            "cmp-curves.png",
            "cmp-frequencies.png",
            "cmp-gamma.png",
            "cmp.png",
        ]
        assert all(picture_is_drawn(path, 400) for path in out.parent.iterdir())
        printed = capsys.readouterr().out
        assert "gamma" in printed
        assert str(out) in printed

    def test_what_differs_in_more_than_gamma_is_not_averaged(self, make_skewed, tmp_path: Path):
        run_dirs = [make_skewed("a", 0.1), make_skewed("b", 5, method__name="fedprox")]
        assert self.run(run_dirs, tmp_path / "out" / "cmp.png") == ["cmp-curves.png", "cmp.png"]

    def test_runs_without_a_distribution(self, make_run, tmp_path: Path, capsys):
        run_dir = make_run("power", participation__name="power-of-choice")
        assert main([str(run_dir)]) == 0
        assert main([str(run_dir), "--out", str(tmp_path / "cmp.png")]) == 2
        assert "none of these runs has a participation.csv" in capsys.readouterr().err
        assert main([str(tmp_path / "missing")]) == 2

    def test_a_missing_file_has_its_own_error(self, make_run):
        with pytest.raises(NoDataError):
            read_participation(make_run())


@pytest.mark.parametrize("name", ["clients.csv", "label_distribution.csv", "participation.csv"])
def test_a_damaged_run_is_left_out_of_the_others(make_run, make_skewed, capsys, name):
    damaged = make_skewed("damaged", 5.0)
    (damaged / name).write_bytes(b"\xff\xfe")
    with pytest.warns(UserWarning, match=f"left out: .*damaged/{name}: it is not UTF-8"):
        assert main([str(damaged), str(make_run("whole"))]) == 0
    assert "whole" in capsys.readouterr().out
    assert main([str(damaged)]) == 2
