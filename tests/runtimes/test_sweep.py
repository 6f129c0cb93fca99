"""Sweeps as a person runs them: what runs, what stops it, and that runs do not disturb each other."""

import signal
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import run_simulation
from clients.base import Client
from clients.local.worker import get_worker
from clients.registry import _load_method
from datasets.configured import _open
from tests.runtimes.sweeps import NAMES, SWEEP, Output, Sweeper, hashes, summary
from tests.system.commands import run as run_process

pytestmark = pytest.mark.usefixtures("python_handlers", "no_sweep_plot")


def forget_everything() -> None:
    for cache in (get_worker, _open, _load_method):
        cache.cache_clear()


@pytest.mark.usefixtures("with_plots")
def test_every_combination_runs_once_and_is_skipped_afterwards(
    sweep: Sweeper, tmp_path: Path, capsys: Output
) -> None:
    assert sweep() == 0
    output = capsys.readouterr().out
    directory = tmp_path / "sweep"
    assert sorted(path.name for path in directory.iterdir() if path.is_dir()) == NAMES
    assert summary(directory / "scaffold,nc2")["config"]["optimizer.learning-rate"] == 0.03  # type: ignore[index]
    assert summary(directory / "fedavg,nc2")["config"]["optimizer.learning-rate"] == 0.05  # type: ignore[index]
    assert "method \\ split" in output
    assert "(90.5)" in output
    table = pd.read_csv(directory / "table.csv")
    assert table["run"].tolist() == NAMES
    final = summary(directory / "scaffold,iid")["final.test_accuracy"]
    assert table.set_index("run").loc["scaffold,iid", "final_test_accuracy"] == pytest.approx(final, abs=1e-5)
    assert f"| scaffold | {100 * final:.2f} |" in (directory / "table.md").read_text()  # type: ignore[operator]
    assert (directory / "comparison.png").stat().st_size > 10_000

    written = {name: (directory / name / "metrics.csv").stat().st_mtime_ns for name in NAMES}
    assert sweep() == 0
    assert "[4/4] scaffold,nc2: 2 rounds, test accuracy" in capsys.readouterr().out
    assert written == {name: (directory / name / "metrics.csv").stat().st_mtime_ns for name in NAMES}


def test_a_run_does_not_notice_what_ran_before_it(sweep: Sweeper, tmp_path: Path) -> None:
    text = """
    rounds = 2
    [axes.model]
    small.model.name = "small-cnn"
    flat.model.name = "mlp"
    [axes.data]
    one.partition.name = "iid"
    other = { partition.alpha = 0.3, seed = 3, method.name = "scaffold", optimizer.learning-rate = 0.1 }
    """
    assert sweep(text=text) == 0
    names = ["small,one", "small,other", "flat,one", "flat,other"]
    found = hashes(tmp_path / "sweep", names)
    assert len(set(found.values())) == len(names)
    for name in reversed(names):
        forget_everything()
        assert sweep("--only", name, text=text, directory="alone") == 0
    assert hashes(tmp_path / "alone", names) == found


@pytest.mark.slow
def test_a_run_of_a_sweep_has_the_bits_of_a_process_of_its_own(sweep: Sweeper, tmp_path: Path) -> None:
    assert sweep("--only", "fedavg,iid", "--only", "scaffold,nc2") == 0
    config = tmp_path / "sweep" / "scaffold,nc2" / "config.toml"
    alone = tmp_path / "alone"
    code, output = run_process([sys.executable, "run_simulation.py", str(config), "--run-dir", str(alone)])
    assert code == 0, output
    assert summary(alone)["model_sha256"] == summary(tmp_path / "sweep" / "scaffold,nc2")["model_sha256"]


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, server_round: int) -> None:
    """Press Ctrl-C while a client of run `name` begins a round."""
    begin_round = Client.begin_round

    def begin(client: Client) -> None:
        directory = client.worker.config.run.directory
        if Path(directory).name == name and client.server_round == server_round and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        begin_round(client)

    pressed: list[bool] = []
    monkeypatch.setattr(Client, "begin_round", begin)


def test_ctrl_c_ends_the_sweep_and_resume_goes_on(
    sweep: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    assert sweep(directory="whole") == 0
    interrupt(monkeypatch, "fedavg,nc2", 1)
    assert sweep() == 130
    directory = tmp_path / "sweep"
    assert (directory / "fedavg,iid" / "summary.json").exists()
    assert len(pd.read_csv(directory / "fedavg,nc2" / "metrics.csv")) == 2  # rounds 0 and 1
    assert not (directory / "scaffold,iid").exists()
    captured = capsys.readouterr()
    assert "stopping after this round" in captured.out
    assert captured.err.splitlines()[-1] == (
        "stopped; what was committed is kept: resume with the same command and"
        f" --run-dir {directory} --resume"
    )

    assert sweep() == 2
    assert "holds an unfinished run, fedavg,nc2: resume with --resume" in capsys.readouterr().err
    assert sweep("--resume") == 0
    assert "resumed after round 1 of 2" in capsys.readouterr().out
    assert hashes(directory) == hashes(tmp_path / "whole")


def test_ctrl_c_in_the_last_round_of_a_run_ends_the_sweep_too(
    sweep: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch, "fedavg,iid", 2)
    assert sweep() == 130
    assert summary(tmp_path / "sweep" / "fedavg,iid")["rounds"] == 2
    assert not (tmp_path / "sweep" / "fedavg,nc2").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_that_fails_is_named_and_the_others_go_on(
    sweep: Sweeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    train = Client.train

    def fail(client: Client, *arguments: Any) -> Any:
        if client.worker.config.partition.name == "iid":
            raise RuntimeError("planted")
        return train(client, *arguments)

    monkeypatch.setattr(Client, "train", fail)
    assert sweep() == 1
    output = capsys.readouterr()
    assert "RuntimeError: planted" in output.out
    assert "2 of 4 runs failed: fedavg,iid, scaffold,iid; --resume" in output.err
    assert "method \\ split" in output.out
    finished = {name: (tmp_path / "sweep" / name / "summary.json").exists() for name in NAMES}
    assert finished == {name: name.endswith("nc2") for name in NAMES}

    assert sweep("--only", "iid", "--resume") == 1
    monkeypatch.setattr(Client, "train", train)
    assert sweep("--resume") == 0
    assert (tmp_path / "sweep" / "scaffold,iid" / "summary.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "classes-per-client = 2",
            "classes-per-client = 11",
            "run 'fedavg,nc2': partition.classes-per-client",
        ),
        ('name = "scaffold"', 'name = "scafold"', "run 'scaffold,iid': method.name: there is no 'scafold'"),
        ('"classes"', '"clases"', "run 'fedavg,nc2': partition.name: there is no 'clases'; did you mean"),
        (
            "optimizer.learning-rate = 0.03",
            "local.lrr = 0.03",
            "run 'scaffold,iid': unknown key 'local.lrr'; did you mean",
        ),
        (
            "optimizer.learning-rate = 0.03",
            "optimizer.learning-rate = -1",
            "run 'scaffold,iid': optimizer.learning-rate must be greater than 0",
        ),
        (
            "optimizer.learning-rate = 0.03",
            'optimizer.name = "sdg"',
            "run 'scaffold,iid': optimizer.name: there is no 'sdg'",
        ),
        ("optimizer.learning-rate = 0.03", 'model.name = "hsu-cnn"', "run 'scaffold,iid': "),
        (
            "[report.published]",
            '[report]\nmetrics = ["test_acuracy"]\n[report.published]',
            "toml: report.metrics: no run would have a column 'test_acuracy'; did you mean 'test_accuracy'?",
        ),
    ],
)
def test_every_configuration_is_checked_before_the_first_run(
    old: str, new: str, complaint: str, sweep: Sweeper, tmp_path: Path, capsys: Output
) -> None:
    assert sweep(text=SWEEP.replace(old, new)) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_other_runs_in_the_directory_are_one_error(sweep: Sweeper, capsys: Output) -> None:
    assert sweep("--only", "fedavg") == 0
    capsys.readouterr()
    for arguments in ([], ["--resume"]):
        assert sweep(*arguments, **{"optimizer__learning-rate": 0.2, "seed": 3}) == 2
        error = capsys.readouterr().err
        assert (
            "holds runs other than these: fedavg,iid: optimizer.learning-rate was 0.05 and is 0.2;"
            " seed was 0 and is 3" in error
        )
        assert "(and 1 more); choose another --run-dir" in error


def test_more_rounds_need_resume_and_fewer_are_refused(
    sweep: Sweeper, tmp_path: Path, capsys: Output
) -> None:
    assert sweep("--only", "fedavg,iid") == 0
    assert sweep("--only", "fedavg,iid", rounds=3) == 2
    assert "unfinished run, fedavg,iid: resume with --resume" in capsys.readouterr().err
    assert sweep("--only", "fedavg,iid", "--resume", rounds=3) == 0
    assert summary(tmp_path / "sweep" / "fedavg,iid")["rounds"] == 3
    assert sweep("--only", "fedavg,iid", "--resume") == 2
    assert "rounds was 3 and is 2" in capsys.readouterr().err


def test_a_part_and_the_list(sweep: Sweeper, tmp_path: Path, capsys: Output) -> None:
    assert sweep("--only", "scaffold,iid") == 0
    output = capsys.readouterr().out
    assert "not finished: fedavg,iid fedavg,nc2 scaffold,nc2" in output
    assert [path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir()] == ["scaffold,iid"]
    before = sorted((tmp_path / "sweep").rglob("*"))
    assert sweep("--list") == 0
    output = capsys.readouterr().out
    assert "2 rounds, test" in output
    assert output.count("│ new") == 3
    assert "partition.name=classes" in output.replace("\n", "")
    assert sorted((tmp_path / "sweep").rglob("*")) == before


def test_a_shorter_sweep_is_written_as_plain_numbers(sweep: Sweeper, tmp_path: Path) -> None:
    text = SWEEP.replace("rounds = 2", "rounds = 20")
    assert sweep("--only", "fedavg,iid", "--rounds-scale", "0.1", text=text) == 0
    assert "rounds = 2\n" in (tmp_path / "sweep" / "fedavg,iid" / "config.toml").read_text()


def test_seeds_are_repetitions(sweep: Sweeper, tmp_path: Path, capsys: Output) -> None:
    assert sweep("--only", "fedavg,iid", "--seeds", "0,5") == 0
    runs = [summary(tmp_path / "sweep" / f"fedavg,iid,seed{seed}") for seed in (0, 5)]
    assert [run["config"]["seed"] for run in runs] == [0, 5]  # type: ignore[index]
    values = pd.Series([100 * run["final.test_accuracy"] for run in runs])  # type: ignore[operator]
    assert f"{values.mean():.2f} ± {values.std():.2f} (90.5)" in capsys.readouterr().out
    assert sweep("--seeds", "a") == 2
    assert "--seeds takes integers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--list"], "--list and --only are for sweeps"),
        (["--only", "iid"], "--list and --only are for sweeps"),
        (["--resume", "--comparators"], "--resume needs --run-dir: the directory of the sweep"),
        (
            ["--resume", "--comparators", "--run-dir", "/nowhere"],
            "nothing to resume: /nowhere does not exist",
        ),
        (["--comparators", "--run-dir", "/proc/x"], "cannot write to the run directory /proc/x"),
        (["--rounds-scale", "-1"], "--rounds-scale must be a number greater than 0"),
        (["--rounds-scale", "inf"], "--rounds-scale must be a number greater than 0"),
        (["--rounds-scale", "x"], "argument --rounds-scale: invalid float value: 'x'"),
        (["--rounds-scale", "1e300"], "rounds is too large a number"),
        (["--seeds", "1,2,1"], "--seeds names 1 twice"),
        (["--seeds", ""], "--seeds takes integers separated by commas, not ''"),
        (["--seeds", "1", "--set", "seed=2"], "--set seed: the axis 'seed' sets it ('seed1')"),
        (["--set", "run.resume=true"], "--set does not take run.resume: use --resume"),
        (["--set", "overrides=run.directory = 'x'"], "--set does not take run.directory: use --run-dir"),
    ],
)
def test_wrong_commands(arguments: list[str], complaint: str, capsys: Output) -> None:
    assert run_simulation.main(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_one_seed_that_may_be_meant_as_a_number_of_seeds_is_noticed(sweep: Sweeper) -> None:
    with pytest.warns(UserWarning, match=r"--seeds 3 is one run, of the seed 3: several are --seeds 0,1,"):
        assert sweep("--seeds", "3", "--list") == 0


def test_the_directory_of_a_single_run_is_no_place_for_a_sweep(
    sweep: Sweeper, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "config.toml").touch()
    assert sweep() == 2
    assert "holds a single run" in capsys.readouterr().err


def test_resume_where_there_is_no_sweep_starts_it(sweep: Sweeper, tmp_path: Path, capsys: Output) -> None:
    assert sweep("--resume", "--only", "fedavg,iid") == 0
    assert "no sweep to resume in" in capsys.readouterr().out
    assert (tmp_path / "sweep" / "fedavg,iid" / "summary.json").exists()
