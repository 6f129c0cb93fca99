"""Why the certificate of a SuperLink is refused, and what to do about it."""

import datetime
import ssl

_OF_TIME = (9, 10)  # codes of OpenSSL: not valid yet, expired
_OF_NAME = (62, 64)  # another host, another IP address


def is_of_time(error: ssl.SSLCertVerificationError) -> bool:
    """Return whether a clock or a renewed certificate on the server is the remedy, and nothing here."""
    return error.verify_code in _OF_TIME


def refusal(address: str, error: ssl.SSLCertVerificationError) -> str:
    """Return one line for the user."""
    reason = error.verify_message.rstrip(".")
    return f"the certificate of the SuperLink at {address} is refused: {reason}; {_remedy(error)}"


def verification_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the refusal of a certificate that caused an error of another library, if one did."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    if is_of_time(error):
        now = datetime.datetime.now(datetime.UTC)
        return (
            f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC: set it if it is wrong, otherwise run"
            " 'python -m runtimes.credentials make DIR --renew' on the server and start the SuperLink again"
        )
    if error.verify_code in _OF_NAME:
        return (
            "give --superlink a name or address that the certificate is for ('python -m runtimes.credentials"
            " show DIR' on the server lists them), or renew it there for this one too"
        )
    return (
        "it was not signed by the ca.pem here: this is another SuperLink, or the server's credentials were"
        " made again, and their ca.pem and keys have to be copied here again"
    )
