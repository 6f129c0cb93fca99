"""Whether a SuperLink is the right one and accepts this node: its certificate, and the node's key."""

import socket
import ssl
import time
from pathlib import Path

from common.certificate_refusal import is_of_time, refusal
from common.errors import UserError
from runtimes.credentials.folder import load_certificate, load_private, read
from runtimes.flower_environment import split_address

_POLL_SECONDS = 2.0
_ANSWER_SECONDS = 10.0


class Admission:
    """A node's view of its SuperLink.

    Parameters
    ----------
    address : str
        Host and port of the Fleet API.
    folder : Path
        The node's folder: ``ca.pem`` and ``key``.

    Raises
    ------
    UserError
        If the folder's files cannot be used.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self._folder = address, folder
        self._key = load_private(folder / "key")
        load_certificate(folder / "ca.pem")
        self._authority = read(folder / "ca.pem")

    def check(self, patience: float = float("inf")) -> None:
        """Wait until the SuperLink answers, and check that it is the right one and knows this node's key.

        Raises
        ------
        UserError
            If the certificate is not for this address, of this authority and valid today; if the SuperLink
            does not know the key; or if nothing answers within `patience` seconds.
        """
        self._wait(time.monotonic() + patience)
        try:
            known = self.is_known()
        except ConnectionError as error:
            raise UserError(f"the SuperLink at {self.address} does not take this node: {error}") from None
        if not known:
            raise UserError(
                f"the SuperLink at {self.address} does not know the key {self._folder / 'key'}: it was never"
                " registered, or it was revoked; 'python -m runtimes.credentials register' on the server"
                " registers it"
            )

    def is_known(self) -> bool:
        """Return whether the SuperLink knows the node's key.

        Raises
        ------
        ConnectionError
            If it does not say so.
        """
        from common.flower_admission import is_registered

        return is_registered(self.address, self._authority, self._key, _ANSWER_SECONDS)

    def refused_certificate(self) -> tuple[str, bool] | None:
        """Return why the certificate is refused now, and whether that may change without a new start."""
        try:
            self._connect()
        except ssl.SSLCertVerificationError as error:
            return refusal(self.address, error), is_of_time(error)
        except (OSError, UserError):
            pass
        return None

    def _wait(self, deadline: float) -> None:
        waited = False
        while True:
            try:
                return self._connect()
            except ssl.SSLCertVerificationError as error:
                raise UserError(refusal(self.address, error)) from None
            except ssl.SSLError as error:
                raise UserError(
                    f"what listens at {self.address} makes no TLS connection ({error.reason}): give"
                    " --superlink the Fleet API of a SuperLink that was not started with --insecure"
                ) from None
            except OSError as error:
                text = f"no SuperLink answers at {self.address}"
                if time.monotonic() > deadline:
                    raise UserError(f"{text}: {error.strerror or error}") from None
                if not waited:
                    print(f"{text} ({error.strerror or error}): waiting", flush=True)
                waited = True
                time.sleep(_POLL_SECONDS)

    def _connect(self) -> None:
        """Make one TLS connection, in which nothing is sent."""
        host, port = split_address(self.address, "--superlink")
        context = ssl.create_default_context(cadata=self._authority.decode("ascii"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), timeout=_ANSWER_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            if encrypted.selected_alpn_protocol() != "h2":
                raise UserError(
                    f"what listens at {self.address} does not speak gRPC: give --superlink the address of the"
                    " SuperLink's Fleet API (its port is 9092 by default), not that of its HTTP API"
                )
