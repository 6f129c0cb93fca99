"""What a person gets for wrong input, broken files and failing clients: a clear message and exit code."""

import errno
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

import run_simulation
from clients.base import Client
from common.records import Payload
from runtimes import realign, replay
from server.checkpoints import checkpoint
from tests.conftest import small_run


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest) -> None:
    if request.function is not test_experiment_file_then_command_line:  # which looks at them
        request.getfixturevalue("no_pictures")


def call(*arguments: str) -> int:
    values = small_run(argument.partition("=")[0] for argument in arguments)
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return run_simulation.main([*settings, *arguments])


def assignments(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--set", text)]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["local.lrr=0.1"], "unknown key 'local.lrr'; did you mean 'optimizer.learning-rate'?"),
        (["rounds=many"], "rounds must be a valid integer, not 'many'"),
        (["rounds=1e3"], "rounds must be an integer, without a point or an exponent: 1000, not 1000.0"),
        (["local.epochs=2.0"], "local.epochs must be an integer, without a point or an exponent: 2, not 2.0"),
        (["local.epochs=0.5"], "local.epochs must be a whole number (for a part of an epoch set"),
        (["optimizer.learning-rate=-1"], "optimizer.learning-rate must be greater than 0, not -1"),
        (["local.steps=2", "local.epochs=2"], "exactly one of local.epochs and local.steps"),
        (["clients.count=2000"], "clients.count is 2000, more than the 1437 training samples: lower it"),
        (["dataset.name=mnst"], "there is no 'mnst'; did you mean 'mnist'?"),
        (["dataset.name=cifar10", "dataset.root=/nowhere"], "/nowhere/cifar-10-batches-py is missing"),
        (["optimizer.name=adam"], "there is no 'adam'; Adam is 'adamw' with optimizer.weight-decay = 0"),
        (["partition.name=shards"], "is 'classes' with partition.classes-per-client = 2"),
        (["partition.name=dirichlett"], "did you mean 'dirichlet'?"),
        (["partition.alpha=0"], "partition.alpha must be greater than 0"),
        (["partition.name=classes", "partition.classes-per-client=11"], "number of classes (10)"),
        (["partition.name=iid", "partition.alpha=0.1"], "'iid' has no parameter 'partition.alpha'"),
        (["model.name=small-cn"], "did you mean 'small-cnn'?"),
        (["model.name=hsu-cnn"], "hsu-cnn"),
        (["method.name=fedavgg"], "did you mean 'fedavg'?"),
        (["method.weightin=uniform"], "did you mean 'method.weighting'?"),
        (["method.nmae=fedavg"], "no parameter 'method.nmae'; did you mean 'method.name'?"),
        (["participation.nmae=skewed"], "did you mean 'participation.name'?"),
        (["method.name=flwr:FedAdamm"], "did you mean 'FedAdam'?"),
        (["participation.name=unifrom"], "did you mean 'uniform'?"),
        (["optimizer.name=sdg"], "did you mean 'sgd'?"),
        (["device=gpu"], "device 'gpu' cannot be used here"),
    ],
)
def test_wrong_input_is_one_line_before_any_training(
    settings: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--run-dir", str(tmp_path / "run"), *assignments(*settings)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert not (tmp_path / "run").exists()


def test_experiment_file_then_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = tmp_path / "experiment.toml"
    experiment.write_text("rounds = 2\n[local]\nsteps = 3\n")
    assert (
        run_simulation.main([str(experiment), "--run-dir", str(tmp_path / "run"), "--set", "rounds=1"]) == 0
    )
    output = capsys.readouterr().out
    assert "test accuracy" in output
    config = json.loads((tmp_path / "run" / "summary.json").read_text())["config"]
    assert (config["rounds"], config["local.steps"], config["local.epochs"]) == (1, 3, 0)
    for name in ("config.toml", "metrics.csv", "clients.csv", "label_distribution.csv", "model.safetensors"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    for plot in ("curves", "label_distribution", "participation"):
        assert (tmp_path / "run" / "plots" / f"{plot}.png").stat().st_size > 5000


def test_missing_experiment_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("nowhere.toml") == 2
    assert "cannot read nowhere.toml: No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["method.name=fedprox"], "did you mean --set method.name=fedprox?"),
        (
            ["--set", "method.name", "fedprox"],
            "--set takes key=value; did you mean --set method.name=fedprox?",
        ),
        (["{file}", "rounds=3"], "unrecognized argument rounds=3; did you mean --set rounds=3?"),
    ],
)
def test_an_assignment_in_the_place_of_a_file(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.toml").write_text("rounds = 2\n")
    given = [argument.format(file=tmp_path / "x.toml") for argument in arguments]
    assert run_simulation.main([*given, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("rounds = 'three'", [], "error: {file}: rounds must be a valid integer, not 'three'"),
        ("local.lrr = 1", [], "error: {file}: unknown key 'local.lrr'"),
        ("partition.name = 'x'", [], "error: {file}: partition.name: there is no 'x'"),
        ("rounds = 2", ["--set", "rounds=three"], "error: rounds must be a valid integer, not 'three'"),
    ],
)
def test_a_wrong_value_in_a_file_names_the_file(
    text: str, options: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.toml"
    file.write_text(text)
    assert run_simulation.main([str(file), *options, "--run-dir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith(complaint.format(file=file))


def test_a_used_run_directory_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--run-dir", str(tmp_path)) == 0
    before = (tmp_path / "metrics.csv").read_bytes()
    assert call("--run-dir", str(tmp_path)) == 2
    assert "already holds a run: continue it with --resume" in capsys.readouterr().err
    assert (tmp_path / "metrics.csv").read_bytes() == before


def test_a_single_run_does_not_mix_with_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    for arguments, way in (((), "choose another --run-dir"), (("--resume",), "resume it with the command")):
        assert call("--run-dir", str(tmp_path), *arguments) == 2
        assert f"{tmp_path} holds a sweep: {way}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.json"]


def test_a_path_of_a_thousand_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--run-dir", str(tmp_path) + "/d" * 1900) == 2
    assert "cannot write to the run directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("fedbabu", "'fedbabu' trains the body, but model.name 'linear' is only a head"),
        ("fedper", "method.personal-part = 'head' is the whole model"),
        ("fedrep", "method.personal-part = 'head' is the whole model"),
        ("fedalt", "method.personal-part = 'head' is the whole model"),
    ],
)
def test_a_model_without_the_part_that_a_method_trains(
    method: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--set", f"method.name={method}", "--set", "model.name=linear", "--run-dir", str(tmp_path))
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_resume_takes_the_configuration_of_the_run(tmp_path: Path) -> None:
    assert call("--run-dir", str(tmp_path), "--set", "optimizer.learning-rate=0.02") == 0
    assert run_simulation.main(["--run-dir", str(tmp_path), "--resume", "--set", "rounds=4"]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["rounds"] == 4
    assert summary["config"]["optimizer.learning-rate"] == 0.02


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--set", "optimizer.learning-rate=0.5"], "optimizer.learning-rate was 0.05 and is 0.5"),
        (
            ["--set", "seed=1", "--set", "optimizer.learning-rate=0.5"],
            "optimizer.learning-rate was 0.05 and is 0.5; seed was 0 and is 1",
        ),
        (["--set", "rounds=2"], "has 3 rounds already, more than rounds = 2"),
    ],
)
def test_resume_with_another_configuration(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--run-dir", str(tmp_path)) == 0
    assert call("--run-dir", str(tmp_path), "--resume", *arguments) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/proc/run", "{tmp}/file/run", "{tmp}/" + "n" * 300, "~nobody-here/x"])
def test_a_run_directory_that_cannot_be_written(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert call("--run-dir", path.format(tmp=tmp_path)) == 2
    error = capsys.readouterr().err
    assert "cannot write to the run directory" in error or "cannot use the path" in error
    assert error.count("\n") == 1


def test_an_empty_path_is_not_the_current_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--run-dir", "") == 2
    assert capsys.readouterr().err == (
        "error: the command line: a path is empty; is a variable of the shell not set?\n"
    )


def test_a_run_directory_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert call("--run-dir", str(tmp_path / "file")) == 2
    assert capsys.readouterr().err == (
        f"error: the run directory {tmp_path / 'file'} is a file; choose another --run-dir\n"
    )


def test_the_home_folder_in_a_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("--run-dir=~/run") == 0
    assert (tmp_path / "run" / "summary.json").exists()


def test_damaged_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--run-dir", str(tmp_path)) == 0
    for path in (tmp_path / "checkpoints").glob("arrays-*"):
        path.write_bytes(path.read_bytes()[:100])
    assert call("--run-dir", str(tmp_path), "--resume", "--set", "rounds=4") == 2
    error = capsys.readouterr().err
    assert "no checkpoint in" in error
    assert "damaged" in error


def test_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = checkpoint.write_atomic

    def full(path: Path, content: bytes) -> None:
        if "round-000004" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_atomic", full)
    assert call("--run-dir", str(tmp_path / "run"), "--set", "rounds=5") == 1
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(checkpoint, "write_atomic", write)
    assert call("--run-dir", str(tmp_path / "run"), "--set", "rounds=5", "--resume") == 0
    assert call("--run-dir", str(tmp_path / "whole"), "--set", "rounds=5") == 0
    hashes = {
        json.loads((tmp_path / n / "summary.json").read_text())["model_sha256"] for n in ("run", "whole")
    }
    assert len(hashes) == 1


def plant_failure(monkeypatch: pytest.MonkeyPatch, victims: set[int], nan: bool = False) -> None:
    train = Client.train

    def fail(client: Client, received: Payload, config: object) -> object:
        sections, metrics = train(client, received, config)  # type: ignore[arg-type]
        if client.client_id in victims:
            if not nan:
                raise RuntimeError("planted")
            first = next(iter(sections["arrays"]))
            sections["arrays"][first] = sections["arrays"][first].detach() * float("nan")
        return sections, metrics

    monkeypatch.setattr(Client, "train", fail)


def test_a_failing_client_ends_the_run_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_failure(monkeypatch, {0, 1, 2, 3, 4, 5})
    assert call("--run-dir", str(tmp_path / "run")) == 1
    error = capsys.readouterr().err
    assert "failed in round 1" in error
    assert "RuntimeError: planted" in error
    assert "python -m runtimes.replay" in error
    replay_directory = error.rsplit("runtimes.replay ", 1)[1].strip()
    with pytest.raises(RuntimeError, match="planted"):
        replay.main([replay_directory])


@pytest.mark.parametrize("command", ["realign", "replay"])
def test_what_was_a_flag_is_answered_with_the_command(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_simulation.main([f"--{command}", "runs/x"]) == 2
    answer = f"error: --{command} is a separate command: python -m runtimes.{command} runs/x\n"
    assert capsys.readouterr().err == answer


def test_commands_beside_runs_answer_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert realign.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: there is no run in {tmp_path}\n"
    assert replay.main([str(tmp_path)]) == 2
    assert "holds no recorded job" in capsys.readouterr().err


def test_not_a_number_is_never_averaged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_failure(monkeypatch, {0, 1, 2, 3, 4, 5}, nan=True)
    assert call("--run-dir", str(tmp_path / "run")) == 1
    assert "has a value that is not finite in 'fc1.weight'" in capsys.readouterr().err


def test_dropped_clients_are_counted_and_weights_renormalised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--set", "failures.policy=drop", "--set", "clients.fraction=1.0", "--set", "rounds=1"]
    plant_failure(monkeypatch, {1, 4}, nan=True)
    assert call("--run-dir", str(tmp_path / "run"), *arguments) == 0
    assert "dropped client 4 (the reply's 'arrays' has a value that is not finite" in capsys.readouterr().out
    row = pd.read_csv(tmp_path / "run" / "metrics.csv").iloc[-1]
    assert (row["clients"], row["failures"]) == (4, 2)
    assert pd.read_csv(tmp_path / "run" / "clients.csv")["client_id"].tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("victims", [{0, 1, 2, 3}, {0, 1, 2, 3, 4, 5}])
def test_too_many_dropped_clients_end_the_run(
    victims: set[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_failure(monkeypatch, victims)
    arguments = ["--set", "failures.policy=drop", "--set", "clients.fraction=1.0"]
    assert call("--run-dir", str(tmp_path / "run"), *arguments) == 1
    error = capsys.readouterr().err
    assert ("all clients failed" if len(victims) == 6 else "4 of 6 clients failed") in error
    assert "planted" in error
    assert not (tmp_path / "run" / "summary.json").exists()


def test_early_stop_at_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--run-dir", str(tmp_path / "run"), "--set", "stop.target=0.01", "--set", "rounds=50") == 0
    assert "stopped after round 1: test_accuracy reached" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rounds"] == 1


def test_ray_is_needed_only_for_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    for name in [name for name in sys.modules if name.startswith("runtimes.ray")]:
        monkeypatch.delitem(sys.modules, name)
    assert call("--run-dir", str(tmp_path / "run"), "--set", "rounds=1") == 0
    assert call("--run-dir", str(tmp_path / "other"), "--runtime", "ray") == 2
    assert "runtime.name 'ray' needs Ray" in capsys.readouterr().err
