"""The project's app under ``flwr run``: resumes a run, stops at a signal, and has a sequential run's bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.defaults import PROJECT_ROOT
from common.sections import Value
from tests.conftest import SMALL_RUN
from tests.system.commands import run_here

# FedRep averages one part of the model and keeps the other with the clients.
SMALL: dict[str, Value] = {
    **SMALL_RUN, "clients.count": 2, "clients.fraction": 1.0, "local.batch-size": 128,
    "schedule.step-rounds": 100, "checkpoint.every": 1000, "method.name": "fedrep",
}  # fmt: skip


def start(run_directory: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "runtimes.federation", "--run-dir", str(run_directory), "--simulation"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=PROJECT_ROOT,
        env=dict(os.environ),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")
def test_a_run_that_is_resumed_and_stopped_has_the_bits_of_the_sequential_one(tmp_path: Path) -> None:
    """``--resume`` reads the stored configuration of any run; the first signal lets the round end."""
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    begun = [*settings, "--set", "rounds=2", "--run-dir", str(tmp_path / "run")]
    run_here(*begun)
    actor = ["--num-cpus", str(os.cpu_count())]  # one for both nodes
    process = start(tmp_path / "run", "--resume", "--set", "rounds=500", *actor)
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 200
    while metrics.read_bytes().count(b"\n") < 6 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, output + errors
    assert "stopping after this round" in output
    assert errors.splitlines()[-1] == (
        "stopped; what was committed is kept: resume with"
        f" python -m runtimes.federation --run-dir {tmp_path / 'run'} --resume"
    )
    done = metrics.read_bytes().count(b"\n") - 2
    assert (tmp_path / "run" / "checkpoints" / f"round-{done:06d}.json").exists()

    rounds = ["--set", f"rounds={done + 2}"]
    found = run_here("--resume", *rounds, "--run-dir", str(tmp_path / "run"))
    expected = run_here(*settings, *rounds, "--run-dir", str(tmp_path / "whole"))
    same = ["rounds", "model_sha256", *(key for key in expected if key.startswith("final."))]
    assert {key: found[key] for key in same} == {key: expected[key] for key in same}
