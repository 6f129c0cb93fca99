"""The Slurm script of docs/cluster.md: a signal before the end of the time, requeued, done."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.defaults import PROJECT_ROOT
from tests.system.commands import command
from tests.system.test_killed_process import wait_for_rows

pytestmark = pytest.mark.slow
ROUNDS = 60


def script(folder: Path) -> str:
    """Return the script, with a small run instead of the documented one."""
    text = (PROJECT_ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```slurm\n(.*?)^```", text, flags=re.M | re.S)
    program = " ".join(command(folder / "run", "--resume", rounds=ROUNDS))
    changed, count = re.subn(r"^\.venv/bin/python .* --resume &$", f"{program} &", block, flags=re.M)
    assert count == 1
    return changed


def start(folder: Path, content: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "SLURM_JOB_ID": "17", "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.Popen(
        ["bash", "-c", content],
        cwd=PROJECT_ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_job_that_is_signalled_requeues_itself_and_ends(tmp_path: Path) -> None:
    requeue = tmp_path / "scontrol"
    requeue.write_text(
        f'#!{sys.executable}\nimport sys\nopen("{tmp_path}/asked", "w").write(" ".join(sys.argv[1:]))\n'
    )
    requeue.chmod(0o755)
    content = script(tmp_path)
    job = start(tmp_path, content)
    wait_for_rows(tmp_path / "run" / "metrics.csv", 5)
    job.send_signal(signal.SIGTERM)
    output, _ = job.communicate(timeout=120)
    assert "committed is kept" in output
    assert (tmp_path / "asked").read_text() == "requeue 17"
    assert not (tmp_path / "run" / "summary.json").exists()
    again = start(tmp_path, content)
    output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    assert re.search(rf"resumed after round \d+ of {ROUNDS}", output)
    assert (tmp_path / "run" / "summary.json").exists()
