"""A node looks at the SuperLink before it starts: wrong certificates, wrong addresses, wrong keys."""

import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UserError
from runtimes.credentials.folder import Credentials
from runtimes.node import _pass_on, _run_once, check_admission, main
from server.interrupt import STOP_SIGNALS


@contextlib.contextmanager
def listening(credentials: Credentials | None) -> Iterator[int]:
    """Accept connections with a server's certificate, or in the clear; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, credentials), daemon=True)
        thread.start()
        yield server.getsockname()[1]


def _accept(server: socket.socket, credentials: Credentials | None) -> None:
    context = None
    if credentials:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(credentials.certificate, credentials.key)
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        with contextlib.suppress(OSError), plain:
            if context is None:
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                context.wrap_socket(plain, server_side=True).recv(1)


def make(path: Path, names: tuple[str, ...] = (), days: int = 5) -> Credentials:
    credentials = Credentials(path)
    credentials.make(names, days)
    credentials.add_node("a")
    return credentials


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return make(tmp_path_factory.mktemp("ours"))


def refusal(credentials: Credentials, address: str) -> str:
    with pytest.raises(UserError) as error:
        check_admission(address, credentials.node("a"), patience=0)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_certificate_of_another_authority_is_refused(ours: Credentials, tmp_path: Path) -> None:
    with listening(make(tmp_path)) as port:
        assert "certificate of the SuperLink" in refusal(ours, f"127.0.0.1:{port}")


def test_a_certificate_that_signed_itself_is_refused(ours: Credentials, tmp_path: Path) -> None:
    alone = make(tmp_path)
    alone.certificate.write_bytes(alone.authority.read_bytes())
    alone.key.write_bytes(alone.authority_key.read_bytes())
    with listening(alone) as port:
        assert "self-signed certificate" in refusal(ours, f"127.0.0.1:{port}").replace(
            "self signed", "self-signed"
        )


def test_a_certificate_of_another_name_is_refused(ours: Credentials) -> None:
    with listening(ours) as port:
        assert "'localhost'" in refusal(ours, f"localhost:{port}")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    expired = make(tmp_path, days=-1)
    with listening(expired) as port:
        said = refusal(expired, f"127.0.0.1:{port}")
    assert "certificate has expired" in said
    assert "this machine's clock says" in said


def test_a_server_without_tls_is_refused(ours: Credentials) -> None:
    with listening(None) as port:
        assert "makes no TLS connection" in refusal(ours, f"127.0.0.1:{port}")


def test_a_server_that_is_not_there_is_named(ours: Credentials) -> None:
    assert "no SuperLink answers at 127.0.0.1:9" in refusal(ours, "127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--superlink", "x", "--partition-id", "0"], "'x' is not HOST:PORT"),
        (["--superlink", "x:0", "--partition-id", "0"], "'x:0' is not HOST:PORT"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "2"], "ids go from 0 to --num-partitions - 1 = 1"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "-1"], "--partition-id has to be 0 or more"),
        (["--superlink", "127.0.0.1:9", "--partition-id", "x"], "invalid int value"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    ours: Credentials, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main([str(ours.node("a")), "--num-partitions", "2", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_port_that_is_in_use_and_data_that_are_missing_are_named(
    ours: Credentials, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    place = ["--superlink", "127.0.0.1:9", "--partition-id", "0", "--num-partitions", "1"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        missing = ["--data-root", str(tmp_path / "none")]
        assert main([str(ours.node("a")), *place, "--port", port, *missing]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"error: --port: cannot listen on port {port} of 127.0.0.1 (Address already")
    assert output.err.count("\n") == 1
    assert output.out == f"there is no folder {tmp_path / 'none'}: --data-root needs it before a run begins\n"


def test_a_key_that_others_can_read_is_refused(ours: Credentials, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir()
    for name in ("key", "ca.pem"):
        (node / name).write_bytes((ours.node("a") / name).read_bytes())
    (node / "key").chmod(0o640)
    with pytest.raises(UserError, match="other users can read: chmod 600"):
        check_admission("127.0.0.1:9", node, patience=0)


def test_output_is_passed_on_until_something_fails(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["INFO: one\n", "Traceback (most recent call last):\n", "  details = 'Invalid node ID'\n", "x\n"]
    held: deque[str] = deque()
    _pass_on(lines, held)
    assert list(held) == lines[1:]
    assert capsys.readouterr().out == "INFO: one\n"


SLEEPS = [sys.executable, "-c", "import time; print('there', flush=True); time.sleep(60)"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_ends_the_supernode_too(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    code, asked, _ = _run_once(SLEEPS, os.environ)
    timer.join()
    assert asked
    assert code in (1, -signal.SIGINT, -signal.SIGTERM)
    assert signal.getsignal(number) == before


def test_nohup_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGHUP))
        timer.start()
        assert _run_once([sys.executable, "-c", "import time; time.sleep(1)"], os.environ)[:2] == (0, False)
    finally:
        signal.signal(signal.SIGHUP, before)
