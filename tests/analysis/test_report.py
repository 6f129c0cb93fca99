"""The table at the end of a run."""

import io
import json

import pytest
from rich.console import Console

from analysis.report import print_summary, write_plots
from common.errors import UserError
from common.plugin_kinds import PLOT
from common.plugins import all_folders, find_function, names, project_names, use_folders


def printed(run_dir):
    stream = io.StringIO()
    print_summary(run_dir, Console(file=stream, width=100))
    return stream.getvalue()


def test_summary_tells_what_ran_and_how_it_ended(make_run):
    run_dir = make_run()
    write_plots(run_dir)

    lines = dict(line.split(maxsplit=1) for line in printed(run_dir).replace("model sha", "sha").splitlines())

    assert lines["method"].strip() == "fedavg"
    assert lines["data"].strip() == "digits, dirichlet partition"
    assert lines["clients"].strip() == "4"
    assert lines["rounds"].strip() == "4"
    assert lines["final"].strip() == "test accuracy 60.00%, test loss 0.5000"
    assert lines["best"].strip() == "test accuracy 70.00%, test loss 0.2500, in round 3"
    assert lines["time"].strip() == "150.0 s (2.5 min), 37.5 s per round"
    assert lines["bytes"].strip() == "5.0 kB down, 12.5 kB up"
    assert lines["sha256"].strip() == "0123456789ab"
    assert "plots" in lines


def test_values_that_a_run_does_not_have_are_left_out(make_run):
    run_dir = make_run()
    (run_dir / "summary.json").write_text(json.dumps({"rounds": 4, "final.test_loss": 0.125}))

    assert printed(run_dir).split() == [
        "rounds",
        "4",
        "final",
        "test",
        "loss",
        "0.1250",
        "bytes",
        "5.0",
        "kB",
        "down,",
        "12.5",
        "kB",
        "up",
    ]


def test_unfinished_run(make_run):
    run_dir = make_run()
    (run_dir / "summary.json").unlink()

    with pytest.raises(UserError, match=r"has no summary\.json"):
        printed(run_dir)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder for plots of one's own, which is used."""
    monkeypatch.delenv("FLOWERBED_PLUGINS", raising=False)
    (tmp_path / "mine" / "plots").mkdir(parents=True)
    use_folders(str(tmp_path / "mine"))
    yield tmp_path / "mine" / "plots"
    use_folders("")


DRAW = "def plot(run_dir):\n    path = run_dir / 'mine.png'\n    path.touch()\n    return path\n"


class TestPlotsFromOutside:
    def test_they_are_drawn_after_those_of_the_project(self, make_run, mine):
        (mine / "a.py").write_text(DRAW)
        run_dir = make_run()
        pictures = [path.name for path in write_plots(run_dir)]
        assert pictures == ["curves.png", "label_distribution.png", "participation.png", "mine.png"]

    @pytest.mark.parametrize(
        ("code", "fault"),
        [
            (
                "def plot(run_dir):\n    1 / 0",
                "it failed: ZeroDivisionError: division by zero ({file}, line 2)",
            ),
            ("1 / 0", "importing {file}, line 1, failed: ZeroDivisionError: division by zero"),
            ("plots = 1", "{file} defines no function 'plot'"),
        ],
    )
    def test_one_that_fails_costs_its_picture_alone(self, make_run, mine, code, fault):
        (mine / "b_ad.py").write_text(code)
        (mine / "c.py").write_text(DRAW)
        with pytest.warns(UserWarning, match=r"^there is no picture of plot 'b-ad': ") as caught:
            pictures = write_plots(make_run())
        assert fault.format(file=mine / "b_ad.py") in str(caught[0].message)
        assert "mine.png" in [path.name for path in pictures]

    def test_one_that_the_project_has_is_refused_before_the_run(self, mine):
        (mine / "head_norms.py").write_text(DRAW)
        with pytest.raises(UserError) as caught:
            all_folders(str(mine.parent))
        assert str(caught.value) == (
            "plots: there is a plot 'head-norms' in the project's plots/ and in"
            f" {mine.parent}: rename one of them"
        )


def test_every_file_of_a_plot_is_one():
    assert project_names(PLOT) == names(PLOT)
    for name in names(PLOT):
        assert callable(find_function(PLOT, name))
