"""The options by which Flower's programs use the credentials."""

from pathlib import Path

from runtimes.credentials.folder import Credentials


def superlink_command(credentials: Credentials | None) -> list[str]:
    """Return the command of a SuperLink, without addresses; without credentials it is open to everyone."""
    if credentials is None:
        return ["flower-superlink", "--insecure"]
    return [
        *["flower-superlink", "--enable-supernode-auth", "--ssl-ca-certfile", str(credentials.authority)],
        *["--ssl-certfile", str(credentials.certificate), "--ssl-keyfile", str(credentials.key)],
    ]


def node_options(folder: Path) -> list[str]:
    """Return the options of a SuperNode with the credentials in a folder."""
    return [
        *["--root-certificates", str(folder / "ca.pem")],
        *["--auth-supernode-private-key", str(folder / "key")],
    ]
