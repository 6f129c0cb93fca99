"""List the nodes of a SuperLink: name, status, last heartbeat, and the clients that they are in a run.

``python -m runtimes.status /etc/flowerbed --run-dir runs/lab``; exit code 1 if there is no node, or if one
that is registered or has a client of the run is not online.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from common.command_line import Parser, guarded, make_console, show_warnings_as_lines
from common.errors import UserError
from common.files import expanded, read_text
from common.flower_control import Node, SuperLink, registered
from runtimes.credentials.folder import Credentials

_OF_CLIENTS = ("client_id", "node_id", "num_examples", "versions")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    authority = None
    if options.folder is not None:
        authority = Credentials(expanded(options.folder, "the command line")).authority
    elif not options.insecure:
        raise UserError("give the folder of the credentials, or --insecure for a SuperLink without any")
    clients = read_nodes(expanded(options.run_dir, "--run-dir")) if options.run_dir else {}
    with SuperLink(options.superlink, authority) as superlink:
        nodes = registered(superlink.nodes())
    there = {node.node_id for node in nodes}
    nodes += [Node(node_id, "", "unknown", "", b"") for node_id in clients if node_id not in there]
    if not nodes:
        print(f"the SuperLink at {options.superlink} has no node")
        return 1
    make_console().print(table(nodes, clients))
    return 0 if all(node.status == "online" for node in nodes) else 1


def read_nodes(run_directory: Path) -> dict[int, dict[str, str]]:
    """Return node id → row of a run's ``nodes.csv``; the rows of a node with several clients are merged."""
    path = run_directory / "nodes.csv"
    rows = list(csv.DictReader(read_text(path, "--run-dir").splitlines()))
    nodes: dict[int, list[dict[str, str]]] = {}
    try:
        for row in rows:
            if row["client_id"] and row["versions"] is not None:
                nodes.setdefault(int(row["node_id"]), []).append(row)
        return {node_id: _together(of_node) for node_id, of_node in nodes.items()}
    except (KeyError, ValueError, TypeError):
        raise UserError(f"--run-dir: {path} is damaged") from None


def _together(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """Merge the rows of a node's clients: the first and the last id, and the sum of their samples."""
    first, last = rows[0], rows[-1]
    if len(rows) == 1:
        return first
    samples = sum(int(row["num_examples"]) for row in rows)
    return {**first, "client_id": f"{first['client_id']}-{last['client_id']}", "num_examples": str(samples)}


def table(nodes: Sequence[Node], clients: dict[int, dict[str, str]]) -> Table:
    """Return the table to print."""
    made = Table("node", "name", "status", "last seen (UTC)", box=None)
    if clients:
        for title in ("client", "samples", "versions"):
            made.add_column(title)
    for node in nodes:
        row = clients.get(node.node_id, dict.fromkeys(_OF_CLIENTS, "-"))
        of_run = (row["client_id"], row["num_examples"], row["versions"]) if clients else ()
        made.add_row(str(node.node_id), node.name or "-", node.status, node.last_seen or "never", *of_run)
    return made


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.status", description=__doc__)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", metavar="DIR", help="the folder of the credentials")
    text = "address of its HTTP API (default: 127.0.0.1:8000)"
    add("--superlink", default="127.0.0.1:8000", metavar="HOST:PORT", help=text)
    add("--run-dir", type=Path, metavar="DIR", help="also show the clients of this run")
    add("--insecure", action="store_true", help="the SuperLink has no certificate")
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    sys.exit(main())
