"""Ctrl-C ends a run between two rounds, with a checkpoint; a second one ends it at once.

A file ``stop`` in the run directory does the same, for server processes that our signals do not reach.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP_FILE = "stop"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """A request to stop after the current round, if there is one."""

    def __init__(self) -> None:
        self.notify: Callable[[str], None] | None = None  # only while rounds run
        self.file: Path | None = None  # of the run whose rounds run
        self._signalled = False

    @property
    def requested(self) -> bool:
        """Whether a signal or the file has requested a stop."""
        return self._signalled or (self.file is not None and self.file.exists())

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        """Record the first signal that arrives while rounds run; exit at once on any other."""
        if self._signalled or self.notify is None:
            raise KeyboardInterrupt
        self._signalled = True
        self.notify("stopping after this round; Ctrl-C again stops at once")


@contextmanager
def stop_between_rounds(
    notify: Callable[[str], None], directory: Path | None = None
) -> Iterator[StopRequest]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into a request that the loop honours after its current round.

    The file ``stop`` in `directory`, the run directory, is such a request as well.

    Applies only if Python's default handlers are installed: a Flower server process has its own way to stop.
    Inside ``stop_between_runs``, its request is used.
    """
    outer = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
    if isinstance(outer, StopRequest) and threading.current_thread() is threading.main_thread():
        with _notifying(outer, notify, directory):
            yield outer
        return
    with stop_between_runs() as request, _notifying(request, notify, directory):
        yield request


@contextmanager
def stop_between_runs() -> Iterator[StopRequest]:
    """Do the same for several runs: a request made in the last round of one is still set after it.

    Between the rounds of two runs, the first signal exits at once.
    """
    request = StopRequest()
    in_force = (signal.default_int_handler, signal.SIG_DFL)
    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in STOP_SIGNALS if is_main and signal.getsignal(number) in in_force]
    previous = [(number, signal.signal(number, request.handle)) for number in taken]
    try:
        yield request
    finally:
        for number, handler in previous:
            signal.signal(number, handler)


@contextmanager
def _notifying(request: StopRequest, notify: Callable[[str], None], directory: Path | None) -> Iterator[None]:
    request.notify = notify
    request.file = None if directory is None else directory / STOP_FILE
    try:
        yield
    finally:
        request.notify = None
        if request.file is not None:
            request.file.unlink(missing_ok=True)
        request.file = None
