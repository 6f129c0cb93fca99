"""Searches as a person runs them: what is evaluated, who wins, what stops one, who shares it."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import run_simulation
from analysis.__main__ import main as analyse
from common.config_values import parse_toml
from common.defaults import PROJECT_ROOT
from common.plugins import use_folders
from common.search.trials import Trial, Workers, ranked, read_trials, trial_path, write_trial
from runtimes.search import launch
from server.measurer import Measurer
from server.round_loop import RoundLoop

HEAD = """
rounds = 2
clients.count = 3
clients.fraction = 1.0
local.steps = 1
partition.name = "iid"
dataset.validation-fraction = 0.2
model.name = "linear"
"""
SEARCH = (
    HEAD
    + """
[search]
trials = 3
[search.keys]
optimizer.learning-rate = { low = 0.001, high = 1.0, log = true }
[search.during]
rounds = 1
"""
)

FEDPER = ("--set", "method.name=fedper", "--set", "model.name=mlp")

VALIDATION = "dataset.validation-fraction = 0.2"
RANGE = "low = 0.001, high = 1.0, log = true"
Searcher = Callable[..., int]


@pytest.fixture(autouse=True)
def _no_pages(no_pictures: None) -> Iterator[None]:
    yield
    use_folders("")


@pytest.fixture
def search(tmp_path: Path) -> Searcher:
    """Run the command line on a file, in ``tmp_path / "s"``."""

    def start(text: str = SEARCH, *arguments: str) -> int:
        (tmp_path / "search.toml").write_text(text)
        file, directory = str(tmp_path / "search.toml"), str(tmp_path / "s")
        return run_simulation.main([file, "--run-dir", directory, *arguments])

    return start


def trials_of(tmp_path: Path, objective: str = "validation_accuracy") -> list[Trial]:
    return read_trials(tmp_path / "s", objective)


def test_search_then_the_winner_with_seeds(
    search: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits: list[set[str]] = []
    prepare = Measurer._prepare_splits

    def watched(self: Measurer) -> dict[str, Any]:
        found = prepare(self)
        splits.append(set(found))
        return found

    monkeypatch.setattr(Measurer, "_prepare_splits", watched)
    assert search(SEARCH, *FEDPER) == 0
    assert splits
    assert all(found == {"validation"} for found in splits)  # no test data, though FedPer's clients have some
    output = capsys.readouterr().out
    for number in range(3):
        rows = pd.read_csv(trial_path(tmp_path / "s", number) / "metrics.csv")
        assert rows["round"].tolist() == [0, 1]
        assert not [c for c in rows if c.startswith(("test", "personal")) and rows[c].notna().any()]
        assert rows["validation_accuracy"].notna().all()
        assert rows["federated_loss"].isna().all()
    found = trials_of(tmp_path)
    best = max(found, key=lambda trial: (trial.value, -trial.number))
    assert f"the winner is {best.name}" in output
    values = parse_toml((tmp_path / "s" / "best.toml").read_text(), "best.toml")
    expected = parse_toml(HEAD, "head") | best.values | {"method.name": "fedper", "model.name": "mlp"}
    assert values == expected  # the trials' rounds, and what keeps test data out, are not in it
    table = pd.read_csv(tmp_path / "s" / "search.csv")
    assert table["trial"][0] == best.name
    assert table["validation_accuracy"].is_monotonic_decreasing
    assert (tmp_path / "s" / "search.png").stat().st_size > 5000
    assert analyse(["search", str(tmp_path / "s")]) == 0

    # The same command with seeds runs the winner alone, with the test set.
    before = [(trial.path / "summary.json").read_bytes() for trial in found]
    assert search(SEARCH, *FEDPER, "--seeds", "3,4") == 0
    assert [(trial.path / "summary.json").read_bytes() for trial in found] == before
    for seed in (3, 4):
        summary = json.loads((tmp_path / "s" / "winner" / f"seed{seed}" / "summary.json").read_text())
        assert summary["config"]["optimizer.learning-rate"] == best.values["optimizer.learning-rate"]
        assert (summary["rounds"], summary["config"]["seed"]) == (2, seed)
        assert summary["final.test_accuracy"] >= 0
    assert (tmp_path / "s" / "winner" / "table.md").is_file()
    assert search(SEARCH, *FEDPER, "--seeds", "3,4") == 0  # all is there: nothing to do


def test_a_search_that_died_is_resumed(
    search: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SEARCH.replace("rounds = 1", "checkpoint.every = 1")
    assert search(text) == 0
    expected = [(trial.values, trial.value) for trial in trials_of(tmp_path)]
    winner = (tmp_path / "s" / "best.toml").read_text()
    (tmp_path / "s").rename(tmp_path / "whole")

    run_round, rounds = RoundLoop._run_round, []

    def dying(self: RoundLoop, current: Any, request: Any) -> None:
        rounds.append(current.number)
        if len(rounds) == 4:  # the second round of the second trial
            raise MemoryError
        run_round(self, current, request)

    with monkeypatch.context() as patch:
        patch.setattr(RoundLoop, "_run_round", dying)
        with pytest.raises(MemoryError):
            search(text)
    assert [trial.state for trial in trials_of(tmp_path)] == ["finished", "open"]
    capsys.readouterr()
    assert search(text) == 2
    assert "resume with --resume" in capsys.readouterr().err
    assert search(text, "--resume") == 0
    assert "resumed after round 1 of 2" in capsys.readouterr().out
    assert [(trial.values, trial.value) for trial in trials_of(tmp_path)] == expected
    assert (tmp_path / "s" / "best.toml").read_text() == winner

    # More trials continue a search; another search does not.
    more = text.replace("trials = 3", "trials = 4")
    assert search(more, "--resume") == 0
    assert [(trial.values, trial.value) for trial in trials_of(tmp_path)][:3] == expected
    assert len(trials_of(tmp_path)) == 4
    for other, message in [
        (text, "trials was 4 and is 3"),
        (more.replace("high = 1.0", "high = 2.0"), "keys was optimizer.learning-rate"),
        (
            more.replace("local.steps = 1", "local.steps = 2"),
            "base was local.steps = 1 and is local.steps = 2",
        ),
    ]:
        capsys.readouterr()
        assert search(other, "--resume") == 2
        assert message in capsys.readouterr().err


def test_processes_share_a_search(
    search: Searcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process has the first trial; it dies later, and its trial is taken over."""
    assert search(SEARCH) == 0
    alone = [(trial.values, trial.value) for trial in trials_of(tmp_path)]
    (tmp_path / "s").rename(tmp_path / "alone")

    other = Workers(tmp_path / "s")
    first = Trial(0, alone[0][0], trial_path(tmp_path / "s", 0), proposed=alone[0][0])
    with other.deciding():
        other.join()
        write_trial(tmp_path / "s", first)
        other.hold(first)
    states: list[list[str]] = []

    def look(seconds: float) -> None:
        states.append([trial.state for trial in trials_of(tmp_path)])
        other.close()

    monkeypatch.setattr(launch.time, "sleep", look)
    assert search(SEARCH) == 0  # without --resume: a search that runs is joined
    assert states == [["open", "finished", "finished"]]
    assert [(trial.values, trial.value) for trial in trials_of(tmp_path)] == alone
    output = capsys.readouterr().out
    assert "they share its trials" in output


def test_what_diverges_never_wins(
    search: Searcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = HEAD + "[search]\nmethod = 'grid'\nobjective = 'validation_loss'\n[search.keys]\n"
    assert search(grid + "optimizer.learning-rate = [1e38, 0.01]") == 0
    output = capsys.readouterr().out
    assert "trial-0000 diverged, the others continue" in output
    assert "the winner is trial-0001" in output
    table = pd.read_csv(tmp_path / "s" / "search.csv")
    assert table["state"].tolist() == ["finished", "diverged"]
    (tmp_path / "s").rename(tmp_path / "old")
    assert search(grid + "optimizer.learning-rate = [1e38, 2e38]") == 1
    assert capsys.readouterr().err.startswith("error: none of 2 trials finished")


def test_keys_that_another_key_makes_useless(
    search: Searcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = HEAD + "[search]\nmethod = 'grid'\n[search.keys]\nmethod.name = ['fedavg', 'fedprox']\n"
    assert search(grid + "method.mu = { low = 0, high = 1, points = 3 }", "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("new  ")[2] for line in lines] == [
        "method.name=fedavg",
        *(f"method.name=fedprox method.mu={mu}" for mu in ("0.0", "0.5", "1.0")),  # a number, not a whole one
    ]
    assert not (tmp_path / "s").exists()
    # An alpha that is the default of another partition may stand beside this one: the run is the same.
    grid = HEAD.replace('partition.name = "iid"', "") + "[search]\nmethod = 'grid'\n[search.keys]\n"
    grid += "partition.name = ['iid', 'dirichlet']\n"
    assert search(grid + "partition.alpha = [0.1, 0.5, 2.0]", "--list") == 0
    assert [line.partition("new  ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "partition.name=iid",
        *(f"partition.name=dirichlet partition.alpha={alpha}" for alpha in (0.1, 0.5, 2.0)),
    ]
    assert search(HEAD + "[search]\nmethod = 'grid'\n[search.keys]\nmethod.mu = [0.1]") == 2
    assert "method.mu" in capsys.readouterr().err


def test_whole_numbers_where_the_key_takes_no_others(
    search: Searcher, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        HEAD
        + "[search]\nmethod = 'grid'\n[search.keys]\nlocal.batch-size = { low = 8, high = 11, points = 3 }"
    )
    assert search(text, "--list") == 0
    assert [line.partition("=")[2] for line in capsys.readouterr().out.splitlines()] == ["8", "10", "11"]


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (SEARCH.replace(VALIDATION, ""), (), "set dataset.validation-fraction above 0"),
        (SEARCH.replace(RANGE, "low = -0.5, high = 1.0"), (), "optimizer.learning-rate"),
        (SEARCH.replace("learning-rate =", "lerning-rate ="), (), "did you mean 'optimizer.learning-rate'"),
        (SEARCH.replace("[search]", "[search]\nobjective = 'validation_f1'"), (), "has no 'validation_f1'"),
        (SEARCH, ("--set", "optimizer.learning-rate=0.1"), "[search] searches it"),
        (SEARCH, ("--set", "evaluate.test=true"), "never use the test set"),
        (SEARCH, ("--set", "clients.evaluate-fraction=0.5"), "evaluate.test = false"),
        (SEARCH, ("--set", "stop.patience=2"), "evaluate.test = false"),
        (SEARCH, ("--comparators",), "--comparators is not for a search"),
        (SEARCH, ("--only", "x"), "--only is not for a search"),
        (SEARCH, ("--seeds", "1,1"), "names 1 twice"),
        (SEARCH, ("--seeds", "a"), "--seeds takes integers"),
        (f"stop.patience = 1\nstop.metric = 'test_loss'{SEARCH}", (), "evaluate.test = false"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_one_line(
    search: Searcher,
    text: str,
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert search(text, *arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert (tmp_path / "s").exists() == ("f1" in message)  # only that is known after a trial


def test_optuna_is_an_extra(
    search: Searcher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else find(name))
    assert search(SEARCH.replace("trials = 3", "trials = 3\nmethod = 'optuna'")) == 2
    assert (
        "needs the package optuna, which is not installed: pip install '.[search]'" in capsys.readouterr().err
    )


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="the extra 'search' is not installed")
def test_optuna_proposes_and_prunes(search: Searcher, tmp_path: Path) -> None:
    text = (
        HEAD.replace("rounds = 2", "rounds = 3") + "[search]\nmethod = 'optuna'\ntrials = 8\n[search.keys]\n"
    )
    text += "optimizer.learning-rate = { low = 0.00001, high = 0.5, log = true }\nlocal.batch-size = [16, 32]"
    assert search(text) == 0
    found = trials_of(tmp_path)
    pruned = [trial for trial in found if trial.state == "pruned"]
    assert pruned
    for trial in found:
        rounds = pd.read_csv(trial.path / "metrics.csv")["round"].max()
        assert (rounds < 3) == (trial.state == "pruned")
        assert 1e-5 <= float(trial.values["optimizer.learning-rate"]) <= 0.5
    best = ranked(found, maximize=True)[0]
    for trial in pruned:  # its curve was below the median of those before it, at its last round
        curve = pd.read_csv(trial.path / "metrics.csv").set_index("round")["validation_accuracy"]
        at = [
            pd.read_csv(other.path / "metrics.csv")
            .set_index("round")["validation_accuracy"]
            .get(curve.index[-1])
            for other in found[: trial.number]
        ]
        assert curve.iloc[1:].max() < pd.Series([value for value in at if value is not None]).median()
    assert best.value == max(trial.value for trial in found if trial.state == "finished")

    # A trial that is lost is proposed again as it was: Optuna's state is the trials on disk.
    last = found[-1]
    for path in (last.path.with_name(f"{last.name}.json"), last.path / "summary.json"):
        path.unlink(missing_ok=True)
    last.path.rename(tmp_path / "lost")
    assert search(text, "--resume") == 0
    assert trials_of(tmp_path)[-1].proposed == last.proposed
    assert trials_of(tmp_path)[-1].value == last.value


def test_the_example_of_the_documentation(search: Searcher, tmp_path: Path) -> None:
    text = (PROJECT_ROOT / "experiments" / "search.toml").read_text(encoding="utf-8")
    small = text.replace("rounds = 5", "rounds = 1\nlocal.steps = 1").replace("trials = 12", "trials = 2")
    assert search(small, "--set", "clients.count=3", "--set", "model.name=linear") == 0
    best = (tmp_path / "s" / "best.toml").read_text()
    assert best.startswith(
        "# Which learning rate, batch size and proximal term suit FedProx on the digits?\n#\n# The winner"
    )
    small_best = ["--rounds-scale", "0.05", "--set", "local.steps=1", "--run-dir", str(tmp_path / "best")]
    assert run_simulation.main([str(tmp_path / "s" / "best.toml"), *small_best]) == 0


def test_trials_are_runs_for_every_analysis(search: Searcher, tmp_path: Path) -> None:
    assert search(SEARCH.replace("trials = 3", "trials = 2")) == 0
    trials, out = str(tmp_path / "s" / "trials"), str(tmp_path / "out")
    assert analyse(["report", trials, "--out", f"{out}.html"]) == 0
    assert "Validation accuracy (%)" in Path(f"{out}.html").read_text()
    assert analyse(["compare", trials, "--out", f"{out}.png"]) == 0
