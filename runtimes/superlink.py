"""Check the credentials and start a SuperLink with them; it stores its nodes in a database.

``python -m runtimes.superlink DIR``; ``python -m runtimes.credentials`` creates the folder. Nodes connect to
the Fleet API, encrypted and with a registered key; ``flwr`` and ``python -m runtimes.credentials`` use the
HTTP API, which accepts runs without authentication and therefore listens on 127.0.0.1 only.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, guarded, show_warnings_as_lines
from common.errors import UserError
from common.files import expanded
from common.flower_fleet import fleet_options, require_own_address
from runtimes.credentials.certificates import days_left
from runtimes.credentials.commands import superlink_command
from runtimes.credentials.folder import Credentials
from runtimes.flower_environment import check_free, program_environment, split_address

_WARN_DAYS = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code, unless this process becomes the SuperLink."""
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    require_own_address("python -m runtimes.superlink")
    credentials = Credentials(expanded(options.folder, "the command line"))
    left = days_left(credentials.check())
    if left < _WARN_DAYS:
        print(
            f"the server's certificate expires in {left} days: python -m runtimes.credentials make"
            f" {credentials.path} --renew",
            flush=True,
        )
    database = (
        expanded(options.database, "--database") if options.database else credentials.path / "superlink.db"
    )
    command = [
        *[*superlink_command(credentials), "--host", "127.0.0.1", "--port", str(options.port)],
        *[*fleet_options(options.fleet), "--database", str(database)],
    ]
    environment = program_environment()
    check_free(*split_address(options.fleet, "--fleet"), "--fleet")
    check_free("127.0.0.1", options.port, "--port")
    os.umask(0o077)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise UserError(f"cannot start {command[0]}: {error.strerror}") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.superlink", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="the folder of the credentials")
    text = "where nodes connect (default: 0.0.0.0:9092)"
    add("--fleet", default="0.0.0.0:9092", metavar="HOST:PORT", help=text)
    add("--port", type=int, default=8000, help="port of the HTTP API on 127.0.0.1 (default: 8000)")
    add("--database", type=Path, metavar="FILE", help="database of the nodes (default: DIR/superlink.db)")
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    sys.exit(main())
