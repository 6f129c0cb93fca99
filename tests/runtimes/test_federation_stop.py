"""A federation of the project's own app: the first signal lets the round end, and --resume takes it up."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.config import PROJECT_ROOT

SMALL = {
    "rounds": 500, "clients.count": 2, "clients.fraction": 1.0, "local.epochs": 1, "model.name": "mlp",
    "checkpoint.every": 1000, "dataset.name": "digits", "partition.name": "iid",
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
@pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")
def test_the_first_signal_ends_between_rounds_and_resume_reads_the_stored_configuration(
    tmp_path: Path,
) -> None:
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    process = start(tmp_path / "run", *settings)
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

    process = start(tmp_path / "run", "--resume", "--set", f"rounds={done + 2}")
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["rounds"] == done + 2
    assert summary["config"]["model.name"] == "mlp"
