import socket
import sys
import tempfile
from pathlib import Path

import pytest

from common.errors import UserError
from common.flower_fleet import has_own_address
from runtimes.flower_environment import FlowerProcesses, check_free, free_ports, split_address
from runtimes.superlink import main
from tests.runtimes.test_admission import make


def test_a_free_port_stays_free() -> None:
    (port,) = free_ports(1)
    for host in ("127.0.0.1", "0.0.0.0", "localhost"):
        check_free(host, port, "--port")
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_what_cannot_be_listened_on_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"--fleet: cannot listen on port {port} of 127\.0\.0\.1 \(Address"
        ):
            check_free("127.0.0.1", port, "--fleet")
    with pytest.raises(UserError, match="--port: ports go from 1 to 65535, not 99999"):
        check_free("127.0.0.1", 99999, "--port")


@pytest.mark.skipif(not has_own_address(), reason="flwr from 1.40 on")
def test_a_superlink_says_which_port_is_in_use(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    credentials = make(tmp_path)
    other, control = free_ports(2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, option in (
            (["--fleet", f"127.0.0.1:{port}", "--port", str(control)], "--fleet"),
            (["--fleet", f"127.0.0.1:{other}", "--port", str(port)], "--port"),
        ):
            assert main([str(credentials.path), *arguments]) == 2
            assert f"error: {option}: cannot listen on port {port}" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["logs", "programs"])
def test_what_cannot_start_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    logs = tmp_path / "logs"
    if damage == "logs":
        logs.write_text("a file")
    else:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises((OSError, UserError)), FlowerProcesses(logs):
        pytest.fail("it started")
    assert list(place.iterdir()) == []


def test_addresses() -> None:
    assert split_address("[::1]:9092", "--superlink") == ("::1", 9092)
    for text in ("9092", "host", "host:", "host:0", "host:65536", "host:x"):
        with pytest.raises(UserError, match=r"--superlink: .* is not HOST:PORT"):
            split_address(text, "--superlink")
