"""Flower's ``flwr-clientapp``, answered by a resident process: as the program, without its imports."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimes.flower_environment import program_environment
from runtimes.resident import CLIENTAPP, SERVERAPP, resident_programs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a resident process"),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("with space")
    with resident_programs(program_environment(), folder, (CLIENTAPP, SERVERAPP)) as found:
        yield found


def call(
    environment: dict[str, str], *arguments: str, name: str = CLIENTAPP
) -> subprocess.CompletedProcess[str]:
    program = environment["PATH"].split(os.pathsep)[0] + f"/{name}"
    return subprocess.run(
        [program, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", [CLIENTAPP, SERVERAPP])
def test_output_and_exit_codes_are_those_of_the_program(environment: dict[str, str], name: str) -> None:
    helped = call(environment, "--help", name=name)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"usage: {name}")
    refused = call(environment, "--no-such-option", name=name)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "--no-such-option" in refused.stderr or "required" in refused.stderr


def test_a_process_has_the_environment_and_the_folder_of_its_stand_in(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = (call({**environment, "COLUMNS": width}, "--help").stdout for width in ("40", "400"))
    assert len(narrow.splitlines()) > 2 * len(wide.splitlines())
    monkeypatch.chdir(tmp_path)
    refused = call(environment, "--token", "t", "--root-certificates", "missing.pem")
    assert refused.returncode != 0
    (tmp_path / "missing.pem").write_text("no certificate")
    failed = call(environment, "--token", "t", "--root-certificates", "missing.pem")
    assert failed.stderr != refused.stderr
    assert failed.returncode == 1, "an exception ends it as it ends the program"
    assert "SSLError" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_the_process(number: signal.Signals, environment: dict[str, str]) -> None:
    program = environment["PATH"].split(os.pathsep)[0] + f"/{CLIENTAPP}"
    # Nothing listens at port 9, so that the program tries again until it is told to end.
    command = [program, "--insecure", "--runtime-api-address", "127.0.0.1:9", "--token", "t"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "Start `flwr-clientapp` process" in process.stderr.readline()
        time.sleep(0.2)
        process.send_signal(number)
        process.communicate(timeout=30)  # until nobody has the other end of the pipe


def test_without_a_resident_process_the_program_itself_runs(tmp_path: Path) -> None:
    with resident_programs(program_environment(), tmp_path) as environment:
        pass
    helped = call(environment, "--help")
    assert helped.returncode == 0
    assert helped.stdout.startswith(f"usage: {CLIENTAPP}")
