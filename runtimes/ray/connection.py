"""Starting Ray on this machine, or connecting to a cluster."""

import contextlib
import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import ray

from common.config import Config
from common.defaults import PROJECT_ROOT
from common.errors import UserError
from server.interrupt import STOP_SIGNALS

REACH_SECONDS = 10
# Files that are not sent to a cluster's machines.
_NOT_SHIPPED = [".git", ".venv", ".venv-ci", "data", "runs", "tests", "docs", "benchmarks"]


def start_ray(config: Config) -> bool:
    """Start Ray, or connect to ``ray.address``; return False if this process already has.

    Raises
    ------
    UserError
        If there is no cluster at the address.
    """
    if ray.is_initialized():
        return False
    threads = str(config.resources.threads_per_worker)
    path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
    environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": threads}}
    if config.ray.address:
        environment = {
            "env_vars": {"OMP_NUM_THREADS": threads},
            "working_dir": str(PROJECT_ROOT),
            "excludes": _NOT_SHIPPED,
        }
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    # Otherwise a head started here keeps the last 100,000 calls for a dashboard, 8 kB a round.
    os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    _check_reachable(config.ray.address)
    warnings.filterwarnings("ignore", message="Tip: In future versions of Ray")
    try:
        with _keeping_signals():
            ray.init(
                address=config.ray.address or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment,
            )
    except (ConnectionError, ValueError) as error:
        raise UserError(f"cannot reach Ray at ray.address = '{config.ray.address}': {error}") from None
    return True


@contextlib.contextmanager
def _keeping_signals() -> Iterator[None]:
    """Keep the signal handlers: Ray's own handler of SIGTERM aborts the process in the middle of a round.

    Its handler during the start exits with the signal's number. If SIGTERM stops a run as Ctrl-C does, it
    does so during the start as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    except SystemExit as error:
        if error.code == signal.SIGTERM and callable(before[signal.SIGTERM]):
            raise KeyboardInterrupt from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _check_reachable(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself retries for minutes.

    Raises
    ------
    UserError
        If it names a host and a port, and no connection is made within ``REACH_SECONDS``.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not address or address in ("auto", "local"):
        return
    try:
        if not separator or not host:
            raise ValueError("write it as host:port, or 'auto' for the cluster of this machine")
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(f"cannot reach Ray at ray.address = '{address}': {error}") from None
