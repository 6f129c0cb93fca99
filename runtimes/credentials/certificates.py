"""A private certificate authority, and the server certificate that it signs."""

import datetime
import ipaddress
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import UserError

CA_DAYS = 3650
_AUTHORITY = "flowerbed authority"
LOCAL_NAMES = ("127.0.0.1",)  # used by Flower's own processes on the server
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_BACKDATED = datetime.timedelta(minutes=5)  # for nodes with slow clocks

PrivateKey = ec.EllipticCurvePrivateKey


def new_key() -> PrivateKey:
    """Return a key on the curve P-384, which Flower also accepts for nodes."""
    return ec.generate_private_key(ec.SECP384R1())


def server_name(text: str) -> x509.GeneralName:
    """Read a name by which nodes reach the server: an IP address, or a host name.

    Raises
    ------
    UserError
        If it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    labels = text.removeprefix("*.").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(text) > 253 or labels[-1].isdigit():
        raise UserError(
            f"--server-name: '{text}' is neither a host name nor an IP address: give what nodes put before"
            " the port, such as server.example or 192.0.2.10"
        )
    return x509.DNSName(text)


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses that a certificate is for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in extension.value]


def make_authority(key: PrivateKey, days: int = CA_DAYS) -> x509.Certificate:
    """Return a self-signed certificate of the authority with this key."""
    public = key.public_key()
    builder = _builder(_AUTHORITY, days).public_key(public)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(signs_certificates=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
    ]
    return _signed(builder, extensions, key)


def make_server_certificate(
    key: PrivateKey, names: Sequence[str], authority: x509.Certificate, authority_key: PrivateKey, days: int
) -> x509.Certificate:
    """Return a server's certificate for names; it never outlives the authority's."""
    public = key.public_key()
    subject = next((name for name in names if name not in LOCAL_NAMES), names[0])
    builder = _builder(subject[:64], days, authority.not_valid_after_utc)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.SubjectAlternativeName([server_name(name) for name in names]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    ]
    return _signed(builder.public_key(public), extensions, authority_key)


def pem(certificate: x509.Certificate) -> bytes:
    """Return the certificate in PEM format."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey) -> bytes:
    """Return a private key in PEM format, without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def days_left(certificate: x509.Certificate) -> int:
    """Return the whole days until it expires; negative if it has."""
    return (certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days


def is_early(certificate: x509.Certificate) -> bool:
    """Return whether it is not valid yet by this machine's clock."""
    return datetime.datetime.now(datetime.UTC) < certificate.not_valid_before_utc


def _builder(subject: str, days: int, latest: datetime.datetime | None = None) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    end = min(end, latest) if latest else end
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _AUTHORITY)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, end) - _BACKDATED)
        .not_valid_after(end)
    )


def _signed(
    builder: x509.CertificateBuilder, extensions: Sequence[tuple[x509.ExtensionType, bool]], key: PrivateKey
) -> x509.Certificate:
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(key, hashes.SHA384())


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
