"""The project's app under ``flwr run``: the bits of a sequential run, also after a signal and --resume."""

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
from tests.system.commands import run_here, summary

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
def test_a_run_that_is_stopped_and_resumed_has_the_bits_of_the_sequential_one(tmp_path: Path) -> None:
    """The first signal lets the round end; ``--resume`` reads the stored configuration."""
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    actor = ["--num-cpus", str(os.cpu_count())]  # one for both nodes
    process = start(tmp_path / "run", *settings, "--set", "rounds=500", *actor)
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 200
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3) and process.poll() is None:
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

    process = start(tmp_path / "run", "--resume", "--set", f"rounds={done + 2}", *actor)
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    expected = run_here(*settings, "--set", f"rounds={done + 2}", "--run-dir", str(tmp_path / "whole"))
    found = summary(tmp_path / "run")
    same = ["rounds", "model_sha256", *(key for key in expected if key.startswith("final."))]
    assert {key: found[key] for key in same} == {key: expected[key] for key in same}
