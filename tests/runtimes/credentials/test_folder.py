"""A folder of credentials: what is made, with which modes, what renewal keeps, what is refused."""

import contextlib
import datetime
import re
import stat
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from runtimes.credentials import certificates
from runtimes.credentials.__main__ import main
from runtimes.credentials.certificates import days_left, make_authority, names_of, new_key, pem, server_name
from runtimes.credentials.folder import Credentials, load_certificate, load_private


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    names = ["--server-name", "server.example", "--server-name", "192.0.2.10"]
    assert main(["make", str(path), *names, "--node", "a", "--node", "b"]) == 0
    return path


def test_all_that_a_federation_needs_is_made_and_only_the_owner_reads_it(folder: Path) -> None:
    credentials = Credentials(folder)
    certificate = credentials.check()
    assert names_of(certificate) == ["server.example", "192.0.2.10", "127.0.0.1"]
    assert days_left(certificate) in (364, 365)
    assert certificate.public_key() == load_private(folder / "server.key").public_key()
    assert credentials.nodes() == ["a", "b"]
    assert len(set(credentials.public_keys().values())) == 2
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    key = load_private(folder / "nodes" / "a" / "key")
    assert isinstance(key.curve, ec.SECP384R1)
    assert (folder / "nodes" / "a" / "ca.pem").read_bytes() == (folder / "ca.pem").read_bytes()


def test_a_renewed_certificate_is_for_the_same_names_and_of_the_same_authority(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in ("ca.pem", "server.pem", "server.key")}
    keys = Credentials(folder).public_keys()
    assert main(["make", str(folder), "--renew", "--days", "30"]) == 0
    certificate = Credentials(folder).check()
    assert names_of(certificate) == ["server.example", "192.0.2.10", "127.0.0.1"]
    assert days_left(certificate) in (29, 30)
    assert (folder / "ca.pem").read_bytes() == before["ca.pem"]
    assert (folder / "server.key").read_bytes() != before["server.key"]
    assert Credentials(folder).public_keys() == keys
    assert main(["make", str(folder), "--renew", "--server-name", "other.example"]) == 0
    assert names_of(Credentials(folder).check()) == ["other.example", "127.0.0.1"]


def test_an_authority_that_would_expire_first_is_renewed_with_its_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = load_private(folder / "ca.key")
    old = make_authority(key, days=10)
    (folder / "ca.pem").write_bytes(pem(old))
    assert main(["make", str(folder), "--renew", "--days", "60"]) == 0
    assert "give every node its new nodes/<name>/ca.pem" in capsys.readouterr().out
    certificate = Credentials(folder).check()
    certificate.verify_directly_issued_by(old)  # nodes that have the old one still trust the server
    assert days_left(load_certificate(folder / "nodes" / "a" / "ca.pem")) > 3000


def test_a_revoked_node_loses_its_key_and_stays_known(folder: Path) -> None:
    credentials = Credentials(folder)
    key = credentials.public_keys()["a"]
    assert main(["revoke", str(folder), "a", "--offline"]) == 0
    assert credentials.nodes() == ["b"]
    assert not (folder / "nodes" / "a").exists()
    assert credentials.revoked_keys() == [key]
    assert main(["make", str(folder), "--node", "a"]) == 0  # another key under the same name
    assert credentials.public_keys()["a"] != key
    assert main(["revoke", str(folder), "a", "--offline"]) == 0
    assert len(credentials.revoked_keys()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make", "{f}"], "has credentials"),
        (["make", "{f}", "--node", "a"], "node 'a' has a key already"),
        (["make", "{f}", "--node", "../../x"], "'../../x' is not a valid node name"),
        (["make", "{f}", "--node", "c", "--node", "c"], "given twice"),
        (["make", "{f}", "--server-name", "x"], "--renew makes it again"),
        (["make", "{f}", "--renew", "--server-name", "bad name"], "'bad name' is neither a host name nor"),
        (["make", "{f}", "--renew", "--days", "0"], "--days: 0 is not between 1 and 3650"),
        (["make", "{f}/new", "--renew"], "there is nothing to renew"),
        (["make", "{f}/ca.pem/new"], "Not a directory"),
        (["revoke", "{f}", "zoe", "--offline"], r"there is no node 'zoe' in .* \(its nodes: a, b\)"),
        (["revoke", "{f}", "..", "--offline"], "is not a valid node name"),
        (["show", "{f}/nowhere"], "there are no credentials in"),
        (["register", "{f}", "--superlink", "127.0.0.1:9"], "no SuperLink answers at 127.0.0.1:9"),
        (["revoke", "{f}", "a", "--superlink", "127.0.0.1:9"], "no SuperLink answers at 127.0.0.1:9"),
    ],
)
def test_what_is_refused_is_one_line_and_changes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([part.format(f=folder) for part in arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def _read_by_others(folder: Path) -> None:
    (folder / "server.key").chmod(0o644)


def _another_key(folder: Path) -> None:
    (folder / "server.key").write_bytes((folder / "ca.key").read_bytes())


def _another_authority(folder: Path) -> None:
    (folder / "ca.pem").write_bytes(pem(make_authority(new_key())))


def _expired(folder: Path) -> None:
    key = load_private(folder / "ca.key")
    (folder / "ca.pem").write_bytes(pem(make_authority(key, days=-1)))


def _early(folder: Path) -> None:
    key = load_private(folder / "ca.key")
    with mock.patch.object(certificates, "_BACKDATED", datetime.timedelta(days=-2)):
        (folder / "ca.pem").write_bytes(pem(make_authority(key)))


def _damaged(folder: Path) -> None:
    content = (folder / "server.pem").read_bytes()
    (folder / "server.pem").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_read_by_others, r"server.key is a private key that other users can read: chmod 600"),
        (_another_key, r"server.key is not the key of .*server.pem"),
        (_another_authority, r"server.pem was not signed by .*ca.pem"),
        (_expired, r"ca.pem expired on"),
        (_early, r"ca.pem is valid from .* on, and the clock of this machine says .*: set the clock"),
        (_damaged, r"server.pem is not a certificate in PEM format"),
    ],
)
def test_a_superlink_is_not_started_with_what_cannot_work(folder: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(folder)
    with pytest.raises(UserError, match=message):
        Credentials(folder).check()


@pytest.mark.parametrize("damage", [_another_key, _another_authority, _expired, _early])
def test_renewing_is_the_remedy(folder: Path, damage, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    damage(folder)
    with pytest.raises(UserError, match=r"make .* --renew'"):
        Credentials(folder).check()
    capsys.readouterr()
    assert main(["make", str(folder), "--renew"]) == 0
    assert ("give every node its new" in capsys.readouterr().out) is (damage is not _another_key)
    Credentials(folder).check()
    assert (folder / "nodes/a/ca.pem").read_bytes() == (folder / "ca.pem").read_bytes()


def test_a_certificate_of_the_future_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _early(folder)
    capsys.readouterr()
    assert main(["show", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("ca.pem: NOT VALID before ")


def test_expiry_is_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _expired(folder)
    capsys.readouterr()
    assert main(["show", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    today = datetime.datetime.now(datetime.UTC)
    assert lines[0].startswith("ca.pem: EXPIRED on ")
    assert lines[1].startswith("server.pem: for server.example, 192.0.2.10, 127.0.0.1, until ")
    assert str((today + datetime.timedelta(days=365)).year) in lines[1]
    assert lines[2:] == ["node a", "node b"]


@given(st.text())
def test_any_text_is_a_server_name_or_is_refused(text: str) -> None:
    with contextlib.suppress(UserError):
        name = str(server_name(text).value)
        assert name
        assert name.isascii()
