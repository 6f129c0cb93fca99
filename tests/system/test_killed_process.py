"""SIGKILL at the worst moments, and Ctrl-C: ``--resume`` ends with the bits of an undisturbed run."""

import signal
import sys
import time
from pathlib import Path

import pytest

from run_simulation import main
from tests.conftest import Runner
from tests.system.commands import command, run, start, summary

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_pictures")]

# Each program runs the command line after planting its own death.
DIES_IN_ROUND = """
import os, signal, sys
from clients.base import Client
trained = []
def die(client):
    trained.append(client.client_id)
    if client.server_round == 4 and len(trained) == 3 * 3 + 2:
        os.kill(os.getpid(), signal.SIGKILL)
Client.begin_round = die
import run_simulation
sys.exit(run_simulation.main(sys.argv[1:]))
"""
DIES_IN_CHECKPOINT = """
import os, signal, sys
import server.checkpoints.checkpoint
write = server.checkpoints.checkpoint.write_atomic
def die(path, content):
    if "round-000004" in path.name and {condition}:
        path.with_name(path.name + ".tmp").write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
server.checkpoints.checkpoint.write_atomic = die
import run_simulation
sys.exit(run_simulation.main(sys.argv[1:]))
"""
PROGRAMS = {
    "in a round": DIES_IN_ROUND,
    "before a checkpoint's tensors": DIES_IN_CHECKPOINT.format(condition="path.name.startswith('arrays')"),
    "before a checkpoint's manifest": DIES_IN_CHECKPOINT.format(condition="path.suffix == '.json'"),
}


@pytest.fixture
def whole(run_small: Runner) -> str:
    return str(summary(run_small("whole", rounds=6))["model_sha256"])


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_resume_after_sigkill(
    program: str, whole: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(tmp_path / "run", rounds=6)[2:]
    code, output = run([sys.executable, "-c", program, *arguments])
    assert code == -signal.SIGKILL, output
    assert not (tmp_path / "run" / "summary.json").exists()
    assert main(command(tmp_path / "run", "--resume", rounds=6)[2:]) == 0
    assert "resumed after round 2 of 6" in capsys.readouterr().out
    assert summary(tmp_path / "run")["model_sha256"] == whole


def test_ctrl_c_leaves_a_resumable_run(
    tmp_path: Path, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = 400
    process = start(command(tmp_path / "run", rounds=rounds))
    wait_for_rows(tmp_path / "run" / "metrics.csv", 5)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "committed is kept: resume with" in output
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    last_round = int(rows[-1].split(",")[0])
    assert 4 <= last_round < rounds
    assert main(command(tmp_path / "run", "--resume", rounds=last_round + 2)[2:]) == 0
    assert f"resumed after round {last_round} of {last_round + 2}" in capsys.readouterr().out
    whole = run_small("whole", rounds=last_round + 2)
    assert summary(tmp_path / "run")["model_sha256"] == summary(whole)["model_sha256"]


def wait_for_rows(path: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert time.monotonic() < deadline, "the run wrote no metrics"
        time.sleep(0.05)
