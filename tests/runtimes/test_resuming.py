"""``--resume`` of a directory without a run: a misspelt path must not train the defaults."""

import json
from pathlib import Path

import pytest

import run_simulation
from runtimes import federation
from runtimes.federation_plan import read_plan
from runtimes.resuming import check_resumable
from runtimes.run import how_to_resume
from server import experiment
from tests.conftest import Runner, small_run

Output = pytest.CaptureFixture[str]


def settings() -> list[str]:
    return [part for key, value in small_run(()).items() for part in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("options", [[], ["--set", "rounds=3"], ["--set", "device=cpu"], ["--seeds", "0,1"]])
@pytest.mark.parametrize(("folder", "what"), [("mainn", "does not exist"), ("", "holds no run")])
def test_nothing_is_trained(
    options: list[str], folder: str, what: str, tmp_path: Path, capsys: Output
) -> None:
    path = tmp_path / folder
    assert run_simulation.main(["--resume", "--run-dir", str(path), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: nothing to resume: {path} {what}; check the path")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nor_by_the_federation(tmp_path: Path, capsys: Output) -> None:
    command = ["--resume", "--run-dir", str(tmp_path / "x"), "--supernodes", "2"]
    assert federation.main(command) == 2
    assert "nothing to resume" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", ["config.toml", "sweep.json", "metrics.csv"])
def test_a_directory_that_holds_something_is_taken(kept: str, tmp_path: Path) -> None:
    (tmp_path / kept).touch()
    check_resumable(tmp_path, None, [])


def test_a_command_that_says_what_to_run_starts_it(tmp_path: Path) -> None:
    check_resumable(tmp_path, Path("experiment.toml"), [])
    check_resumable(tmp_path, None, ["rounds", "method.name"])


def test_a_run_that_was_stopped_before_its_first_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, no_pictures: None
) -> None:
    """Whatever the last line says about resuming works, and trains what was asked for."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    command = [*settings(), "--set", "method.name=fedprox", "--run-dir", str(tmp_path)]
    with monkeypatch.context() as stopped:
        stopped.setattr(experiment, "make_parts", stop)
        assert run_simulation.main(command) == 130
    assert capsys.readouterr().err == "stopped; nothing has begun: the same command starts it again\n"
    assert run_simulation.main(["--resume", "--run-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "which has no config.toml: repeat the command that began there" in error
    assert "method.name=fedprox" in error

    with monkeypatch.context() as stopped:
        stopped.setattr(experiment, "RoundLoop", stop)
        assert run_simulation.main(command) == 130
    said = f"nothing was committed yet: --run-dir {tmp_path} --resume starts it from the beginning"
    assert said in capsys.readouterr().err
    assert run_simulation.main(["--resume", "--run-dir", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["config"]["method.name"] == "fedprox"


def test_a_sweep_that_was_stopped_while_it_was_checked(tmp_path: Path) -> None:
    assert how_to_resume(tmp_path / "sweep", was_there=False) == (
        "nothing has begun: the same command starts it again"
    )
    (tmp_path / "sweep.json").touch()
    assert how_to_resume(tmp_path) == (
        f"nothing was committed yet: the same command and --run-dir {tmp_path} --resume starts it from the"
        " beginning"
    )


@pytest.mark.parametrize("method", ["local-only", "fedasync"])
def test_a_key_that_an_earlier_version_took_without_effect(
    method: str, run_small: Runner, tmp_path: Path, capsys: Output, no_pictures: None
) -> None:
    """A run that stored it resumes, and its config.toml runs as an experiment file."""
    run = run_small(rounds=1, method__name=method)
    config = run / "config.toml"
    text = config.read_text()
    name = f'method.name = "{method}"'
    config.write_text(text.replace(name, f'{name}\nmethod.weighting = "uniform"'))
    stored = tmp_path / "stored.toml"
    stored.write_text(config.read_text())
    plan = read_plan(["--resume", "--run-dir", str(run)], "")
    assert plan.overrides["method.name"] == method
    assert "method.weighting" not in plan.overrides
    plan = read_plan([str(stored), "--run-dir", str(tmp_path / "new")], "")
    assert "method.weighting" not in plan.overrides

    assert run_simulation.main(["--resume", "--run-dir", str(run), "--set", "rounds=2"]) == 0
    assert "method.weighting" not in config.read_text()
    assert run_simulation.main([str(stored), "--run-dir", str(tmp_path / "again")]) == 0
    assert run_simulation.main([str(stored), "--set", "method.weighting=uniform"]) == 2
    assert "method.weighting = 'uniform' would have no effect" in capsys.readouterr().err
