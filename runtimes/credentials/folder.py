"""The folder of a federation's credentials: its files, their modes, and a check that it is complete.

``ca.pem`` and ``ca.key`` are the authority, ``server.pem`` and ``server.key`` the SuperLink's. What a node's
machine needs is in ``nodes/<name>/``: ``ca.pem``, ``key``, and ``key.pub``, which the SuperLink is given.
``revoked/`` keeps public keys that must not be registered.
"""

import datetime
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import UserError
from common.files import read_regular, write_atomic
from runtimes.credentials.certificates import (
    CA_DAYS,
    LOCAL_NAMES,
    PrivateKey,
    days_left,
    is_early,
    key_pem,
    make_authority,
    make_server_certificate,
    names_of,
    new_key,
    pem,
    server_name,
)

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MAX_BYTES = 2**20
_PRIVATE = 0o600


class Credentials:
    """The credentials in a folder.

    Parameters
    ----------
    path : Path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority, self.authority_key = path / "ca.pem", path / "ca.key"
        self.certificate, self.key = path / "server.pem", path / "server.key"

    # What there is.

    def exists(self) -> bool:
        """Return whether the folder has an authority, even an incomplete one."""
        return self.authority.exists() or self.authority_key.exists()

    def nodes(self) -> list[str]:
        """Return the names of the nodes that have a key and are not revoked."""
        return sorted(folder.name for folder in self.path.glob("nodes/*") if (folder / "key.pub").exists())

    def node(self, name: str) -> Path:
        """Return the folder for a node's machine.

        Raises
        ------
        UserError
            If `name` is not a valid name of a node.
        """
        if not _NODE_NAME.fullmatch(name):
            raise UserError(
                f"'{name}' is not a valid node name: use up to 64 letters, digits, '-' and '_', and begin"
                " with a letter or digit"
            )
        return self.path / "nodes" / name

    def public_keys(self) -> dict[str, bytes]:
        """Return name → public key of the nodes, in the form that a SuperLink keeps."""
        return {name: public_pem(self.node(name) / "key.pub") for name in self.nodes()}

    def revoked_keys(self) -> list[bytes]:
        """Return the public keys that were revoked, in the form that a SuperLink keeps."""
        return [public_pem(path) for path in sorted(self.path.glob("revoked/*.pub"))]

    # Making them.

    def make(self, names: Sequence[str], days: int) -> list[str]:
        """Make the authority and the server's certificate, for these names in addition to the local ones."""
        for folder in (self.path, self.path / "nodes", self.path / "revoked"):
            _make_private_folder(folder)
        key = new_key()
        authority = make_authority(key)
        _write(self.authority_key, key_pem(key))
        _write(self.authority, pem(authority))
        return self._write_server(authority, key, [*names, *LOCAL_NAMES], days)

    def renew(self, names: Sequence[str], days: int) -> list[str]:
        """Renew the server's certificate, and the authority's if that would expire first or cannot be used.

        The authority keeps its key, so nodes with the old certificate trust the server until that expires.
        """
        key = load_private(self.authority_key)
        authority = load_certificate(self.authority)
        lines = []
        is_ours = authority.public_key() == key.public_key()
        if days_left(authority) < days or is_early(authority) or not is_ours:
            authority = make_authority(key, max(CA_DAYS, days))
            _write(self.authority, pem(authority))
            for name in self.nodes():
                _write(self.node(name) / "ca.pem", pem(authority))
            lines.append(f"{self.authority}: renewed; give every node its new nodes/<name>/ca.pem")
        kept = names or names_of(load_certificate(self.certificate))
        return lines + self._write_server(authority, key, [*kept, *LOCAL_NAMES], days)

    def add_node(self, name: str) -> str:
        """Create the key of a new node.

        Raises
        ------
        UserError
            If the node has a key already.
        """
        folder = self.node(name)
        if (folder / "key").exists():
            raise UserError(
                f"node '{name}' has a key already: 'revoke {name}' takes it away, then another can be made"
            )
        authority = read(self.authority)
        _make_private_folder(folder)
        key = new_key()
        _write(folder / "ca.pem", authority)
        _write(folder / "key", _openssh(key))
        _write(folder / "key.pub", _openssh_public(key))
        return f"{folder}: for the machine of node '{name}'"

    def revoke(self, name: str) -> bytes:
        """Take a node out of the folder; return its public key, which is kept as revoked."""
        folder = self.node(name)
        if not (folder / "key.pub").exists():
            known = ", ".join(self.nodes()) or "none"
            raise UserError(f"there is no node '{name}' in {self.path} (its nodes: {known})")
        public = read(folder / "key.pub")
        fingerprint = hashes.Hash(hashes.SHA256())
        fingerprint.update(public)
        _make_private_folder(self.path / "revoked")
        _write(self.path / "revoked" / f"{name}-{fingerprint.finalize().hex()[:12]}.pub", public)
        for file in ("key", "key.pub", "ca.pem"):
            (folder / file).unlink(missing_ok=True)
        folder.rmdir()
        return as_public_pem(public, name)

    # Checking them.

    def check(self) -> x509.Certificate:
        """Return the server's certificate, if a SuperLink can be started with it.

        Raises
        ------
        UserError
            If a file is missing or damaged, others can read a private key, the certificate is not the
            authority's or not the key's, or one has expired or is not valid yet.
        """
        authority, certificate = load_certificate(self.authority), load_certificate(self.certificate)
        again = f"make it again with 'python -m runtimes.credentials make {self.path} --renew'"
        if load_private(self.key).public_key() != certificate.public_key():
            raise UserError(f"{self.key} is not the key of {self.certificate}: {again}")
        try:
            certificate.verify_directly_issued_by(authority)
        except Exception:  # cryptography raises a dozen types
            raise UserError(f"{self.certificate} was not signed by {self.authority}: {again}") from None
        for path, made in ((self.authority, authority), (self.certificate, certificate)):
            if days_left(made) < 0:
                raise UserError(f"{path} expired on {made.not_valid_after_utc:%Y-%m-%d}: {again}")
            if is_early(made):
                now, begin = datetime.datetime.now(datetime.UTC), made.not_valid_before_utc
                raise UserError(
                    f"{path} is valid from {begin:%Y-%m-%d %H:%M} UTC on, and the clock of this machine says"
                    f" {now:%Y-%m-%d %H:%M}: set the clock, or {again}"
                )
        return certificate

    def _write_server(
        self, authority: x509.Certificate, authority_key: PrivateKey, names: Iterable[str], days: int
    ) -> list[str]:
        unique = list(dict.fromkeys(str(server_name(name).value) for name in names))
        key = new_key()
        certificate = make_server_certificate(key, unique, authority, authority_key, days)
        _write(self.key, key_pem(key))
        _write(self.certificate, pem(certificate))
        end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        return [f"{self.certificate}: for {', '.join(unique)}, until {end}"]


def read(path: Path) -> bytes:
    """Read a small file of the folder."""
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate."""
    try:
        return x509.load_pem_x509_certificate(read(path))
    except ValueError:
        raise UserError(f"{path} is not a certificate in PEM format") from None


def load_private(path: Path) -> PrivateKey:
    """Read a private key, PEM or OpenSSH, that other users cannot read.

    Raises
    ------
    UserError
        If there is none, or the file's mode lets other users read it.
    """
    content = read(path)
    if path.stat().st_mode & 0o077:
        raise UserError(f"{path} is a private key that other users can read: chmod 600 {path}")
    is_openssh = b"OPENSSH" in content[:64]
    load = serialization.load_ssh_private_key if is_openssh else serialization.load_pem_private_key
    try:
        key = load(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UserError(f"{path} is not a private key without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UserError(f"{path} is not an elliptic-curve key, which Flower needs")
    return key


def public_pem(path: Path) -> bytes:
    """Read a public key in OpenSSH's format; return it in the form that a SuperLink keeps."""
    return as_public_pem(read(path), str(path))


def as_public_pem(openssh: bytes, source: str) -> bytes:
    """Return a public key in the form that a SuperLink keeps."""
    try:
        key = cast(ec.EllipticCurvePublicKey, serialization.load_ssh_public_key(openssh))
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{source} is not a public key in OpenSSH format") from None
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _openssh(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _openssh_public(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def _make_private_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise UserError(f"cannot make {path}: {error.strerror or error}") from None


def _write(path: Path, content: bytes) -> None:
    write_atomic(path, content, _PRIVATE)
