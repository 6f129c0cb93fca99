"""What to do about a certificate that is refused."""

import ssl

import httpx
import pytest

from common.certificate_refusal import is_of_time, refusal, verification_error


def refused(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(message)
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("code", "message", "remedy", "may_pass"),
    [
        (9, "certificate is not yet valid", "clock says", True),
        (10, "certificate has expired", "--renew' on the server", True),
        (62, "Hostname mismatch, certificate is not valid for 'x'.", "a name or address that the", False),
        (64, "IP address mismatch, certificate is not valid for '::1'.", "a name or address that", False),
        (20, "unable to get local issuer certificate", "not signed by the ca.pem here", False),
    ],
)
def test_every_refusal_says_what_to_do(code: int, message: str, remedy: str, may_pass: bool) -> None:
    error = refused(code, message)
    said = refusal("server:9092", error)
    assert said.startswith(
        f"the certificate of the SuperLink at server:9092 is refused: {message.rstrip('.')};"
    )
    assert remedy in said
    assert is_of_time(error) is may_pass


def test_a_refusal_is_found_behind_the_error_of_a_library() -> None:
    first = refused(10, "certificate has expired")
    outer = httpx.ConnectError("no")
    outer.__cause__ = first
    assert verification_error(outer) is first
    assert verification_error(None) is None
    assert verification_error(httpx.ConnectError("no")) is None
