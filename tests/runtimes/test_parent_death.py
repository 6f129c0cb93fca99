"""A program that ends with its parent, even if that is killed."""

import os
import subprocess
import sys
import time

import pytest

from common.defaults import PROJECT_ROOT
from runtimes.parent_death import ending_with_this_process

linux = pytest.mark.skipif(sys.platform != "linux", reason="a signal of Linux")

PARENT = """
import subprocess, time
from runtimes.parent_death import ending_with_this_process
child = subprocess.Popen(ending_with_this_process(["sleep", "60"]))
print(child.pid, flush=True)
time.sleep(60)
"""


def program_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            name, state = file.read().split()[1:3]
    except FileNotFoundError:
        return ""
    return "" if state == "Z" else name


def wait_for(pid: int, name: str) -> None:
    deadline = time.monotonic() + 20
    while program_of(pid) != name:
        assert time.monotonic() < deadline, program_of(pid)
        time.sleep(0.02)


@linux
def test_it_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=PROJECT_ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(child, "(sleep)")
    parent.kill()
    parent.wait()
    wait_for(child, "")


@linux
def test_it_does_not_start_without_its_parent() -> None:
    command = ending_with_this_process(["echo", "started"])
    command[-3] = str(os.getppid())
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")


def test_it_is_the_program_itself() -> None:
    ended = subprocess.run(
        ending_with_this_process([sys.executable, "-c", "raise SystemExit(7)"]), check=False
    )
    assert ended.returncode == 7
