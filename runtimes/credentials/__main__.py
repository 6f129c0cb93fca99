"""Make the certificates and keys of a federation, register its nodes with a SuperLink, revoke them.

``make DIR`` makes an authority, a certificate for the server and a key for each node; ``register DIR`` gives
the public keys to a running SuperLink; ``revoke DIR NODE`` removes a node. docs/deployment.md has all steps.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, guarded, show_warnings_as_lines
from common.errors import UserError
from common.files import expanded
from runtimes.credentials.certificates import days_left, is_early, names_of, server_name
from runtimes.credentials.folder import Credentials, load_certificate
from runtimes.credentials.registration import register, revoke

DEFAULT_SUPERLINK = "127.0.0.1:8000"
_MAX_DAYS = 3650


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    credentials = Credentials(expanded(options.folder, "the command line"))
    if options.command == "make":
        lines = make(credentials, options)
    else:
        if not credentials.exists():
            raise UserError(
                f"there are no credentials in {credentials.path}: 'python -m runtimes.credentials make"
                f" {credentials.path}' makes them"
            )
        lines = {"show": show, "register": _register, "revoke": _revoke}[options.command](
            credentials, options
        )
    print("\n".join(lines))
    return 0


def make(credentials: Credentials, options: argparse.Namespace) -> list[str]:
    """Make the requested files that do not exist yet; check everything before writing the first one."""
    names, nodes = options.server_name, options.node
    for name in names:
        server_name(name)
    for name in nodes:
        credentials.node(name)
    if len(set(nodes)) < len(nodes):
        raise UserError("--node: a name is given twice")
    if not 1 <= options.days <= _MAX_DAYS:
        raise UserError(f"--days: {options.days} is not between 1 and {_MAX_DAYS}")
    taken = sorted(set(nodes) & set(credentials.nodes()))
    if taken:
        raise UserError(f"node '{taken[0]}' has a key already: revoke it first, or leave it out")
    if not credentials.exists():
        if options.renew:
            raise UserError(f"--renew: there is nothing to renew in {credentials.path}: leave it out")
        lines = credentials.make(names, options.days)
    elif options.renew:
        lines = credentials.renew(names, options.days)
    elif names:
        raise UserError(f"{credentials.certificate} is there: --renew makes it again, for other names too")
    elif not nodes:
        raise UserError(f"{credentials.path} has credentials: add nodes with --node, or renew with --renew")
    else:
        lines = []
    return lines + [credentials.add_node(name) for name in nodes]


def show(credentials: Credentials, _options: argparse.Namespace) -> list[str]:
    """Return a line for each certificate and node."""
    lines = []
    for path in (credentials.authority, credentials.certificate):
        certificate = load_certificate(path)
        left = days_left(certificate)
        names = ", ".join(names_of(certificate))
        end = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
        state = f"until {end} ({left} days)" if left >= 0 else f"EXPIRED on {end}: renew it"
        if is_early(certificate):
            begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M}"
            state = f"NOT VALID before {begin} UTC: set this machine's clock, or renew it"
        lines.append(f"{path.name}: {f'for {names}, ' if names else ''}{state}")
    lines += [f"node {name}" for name in credentials.nodes()]
    return lines + [f"revoked {path.stem}" for path in sorted(credentials.path.glob("revoked/*.pub"))]


def _register(credentials: Credentials, options: argparse.Namespace) -> list[str]:
    return register(credentials, options.superlink)


def _revoke(credentials: Credentials, options: argparse.Namespace) -> list[str]:
    return revoke(credentials, options.node, None if options.offline else options.superlink)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.credentials", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.add_argument("folder", type=Path, metavar="DIR", help="the folder of the credentials")
        return added

    def superlink(added: argparse.ArgumentParser) -> None:
        text = f"address of its HTTP API (default: {DEFAULT_SUPERLINK})"
        added.add_argument("--superlink", default=DEFAULT_SUPERLINK, metavar="HOST:PORT", help=text)

    added = command("make", "make an authority, a server certificate, and keys of nodes; or add nodes")
    text = (
        "host name or IP address by which nodes reach the server; repeatable (127.0.0.1 is always included)"
    )
    added.add_argument("--server-name", action="append", default=[], metavar="NAME", help=text)
    added.add_argument(
        "--node",
        action="append",
        default=[],
        metavar="NAME",
        help="name of a node to make a key for; repeatable",
    )
    text = "validity of the server's certificate in days (default: 365); the authority's is ten years"
    added.add_argument("--days", type=int, default=365, help=text)
    text = "renew the server's certificate, with the names of the old one unless others are given"
    added.add_argument("--renew", action="store_true", help=text)
    command("show", "list certificates with their expiry, nodes and revoked keys")
    superlink(command("register", "register all nodes that are not revoked with a running SuperLink"))
    added = command("revoke", "revoke a node: its key is deleted here and refused by the SuperLink")
    added.add_argument("node", metavar="NODE", help="name of the node")
    superlink(added)
    text = "do not contact the SuperLink: the next 'register' revokes the key there"
    added.add_argument("--offline", action="store_true", help=text)
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    sys.exit(main())
