"""A node looks at the SuperLink before it starts: wrong certificates, wrong addresses, wrong keys, clocks."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import UserError
from runtimes.admission import Admission
from runtimes.credentials.folder import Credentials


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
        Admission(address, credentials.node("a")).check(patience=0)
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
        said = refusal(ours, f"localhost:{port}")
    assert "'localhost'" in said
    assert "give --superlink a name or address that the certificate is for" in said


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    expired = make(tmp_path, days=-1)
    with listening(expired) as port:
        said = refusal(expired, f"127.0.0.1:{port}")
    assert "certificate has expired" in said
    assert "this machine's clock says" in said


def test_a_server_without_tls_is_refused(ours: Credentials) -> None:
    with listening(None) as port:
        assert "makes no TLS connection" in refusal(ours, f"127.0.0.1:{port}")


def test_an_http_api_is_refused(ours: Credentials) -> None:
    with listening(ours) as port:
        assert "does not speak gRPC: give --superlink" in refusal(ours, f"127.0.0.1:{port}")


def test_a_certificate_is_looked_at_again(ours: Credentials, tmp_path: Path) -> None:
    with listening(make(tmp_path / "expired", days=-1)) as port:
        expired = Admission(f"127.0.0.1:{port}", tmp_path / "expired/nodes/a").refused_certificate()
        other = Admission(f"127.0.0.1:{port}", ours.node("a")).refused_certificate()
    assert expired is not None
    assert other is not None
    assert ("expired" in expired[0], expired[1]) == (True, True)
    assert ("it was not signed by the ca.pem here" in other[0], other[1]) == (True, False)
    assert Admission("127.0.0.1:9", ours.node("a")).refused_certificate() is None


def test_a_server_that_is_not_there_is_named(ours: Credentials) -> None:
    assert "no SuperLink answers at 127.0.0.1:9" in refusal(ours, "127.0.0.1:9")


def test_a_key_that_others_can_read_is_refused(ours: Credentials, tmp_path: Path) -> None:
    node = tmp_path / "node"
    node.mkdir()
    for name in ("key", "ca.pem"):
        (node / name).write_bytes((ours.node("a") / name).read_bytes())
    (node / "key").chmod(0o640)
    with pytest.raises(UserError, match="other users can read: chmod 600"):
        Admission("127.0.0.1:9", node)
