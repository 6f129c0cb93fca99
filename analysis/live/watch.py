"""Follow runs or sweeps on a live page: ``python -m analysis watch RUN``."""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from analysis.command import command
from analysis.live.snapshot import snapshot, watchable
from common.command_line import Parser
from common.errors import UserError

HOST = "127.0.0.1"
PORT = 8899
_PAGE = Path(__file__).with_name("page.html")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    parser = Parser(
        prog="python -m analysis watch",
        description="A live page of runs: curves, progress, failures, expected end. It only reads files.",
    )
    parser.add_argument("directories", metavar="RUN", nargs="+", type=Path, help="run or sweep directory")
    parser.add_argument(
        "--port",
        metavar="PORT",
        type=int,
        help=f"port on {HOST}; 0 takes any free port (default: {PORT}, or any free one if it is in use)",
    )
    options = parser.parse_args(arguments)
    directories = watchable(options.directories)
    with make_server(directories, options.port) as server:
        names = ", ".join(map(str, options.directories))
        print(f"watching {names} at http://{HOST}:{server.server_address[1]}/ (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(flush=True)


def make_server(paths: Sequence[Path], port: int | None = None) -> "Server":
    """Return the server of a page, which listens but does not answer yet; port None is the default.

    Raises
    ------
    UserError
        If the port is invalid or in use.
    """
    if port is not None and not 0 <= port < 2**16:
        raise UserError(f"--port {port}: ports go from 1 to 65535, and 0 takes any free port")
    for candidate in [PORT, 0] if port is None else [port]:
        try:
            return Server(paths, candidate)
        except OSError as error:
            reason = error.strerror or error
    raise UserError(f"cannot listen on port {port}: {reason}; choose another with --port, or 0 for any")


class Server(ThreadingHTTPServer):
    """Serves the page and its data on the loopback interface only."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, paths: Sequence[Path], port: int) -> None:
        self.paths = list(paths)
        self.page = _PAGE.read_bytes()
        script = re.search(rb"<script>(.*?)</script>", self.page, re.DOTALL)
        digest = hashlib.sha256(script[1] if script else b"").digest()
        # Only this script may run, and it may connect to this server only.
        self.policy = (
            "default-src 'none'; connect-src 'self'; img-src data:; style-src 'unsafe-inline';"
            f" base-uri 'none'; form-action 'none'; script-src 'sha256-{base64.b64encode(digest).decode()}'"
        )
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore browsers that have disconnected."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request for the page or its data."""
        path, _, query = self.path.partition("?")
        # Against DNS rebinding: pages under other names that resolve to this machine must not read it.
        if self.headers.get("Host", "").rpartition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif path == "/":
            self._answer(self.server.page, "text/html; charset=utf-8")
        elif path == "/data.json":
            content = snapshot(self.server.paths, parse_qs(query).get("metric", []))
            self._answer(json.dumps(content, allow_nan=False).encode(), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, content: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": self.server.policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no requests."""
