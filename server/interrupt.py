"""Ctrl-C ends a run between two rounds, with a checkpoint; a second one ends it at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked the run to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_between_rounds(notify: Callable[[str], None]) -> Iterator[StopRequest]:
    """Turn the first SIGINT or SIGTERM into a request that the loop honours after its current round.

    Only where Python's own handlers are in force: a Flower server process has its own way to stop.
    """
    request = StopRequest()

    def handle(signal_number: int, frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True
        notify("stopping after this round; Ctrl-C again stops at once")

    in_force = (signal.default_int_handler, signal.SIG_DFL)
    is_main = threading.current_thread() is threading.main_thread()
    taken = [number for number in _SIGNALS if is_main and signal.getsignal(number) in in_force]
    previous = [(number, signal.signal(number, handle)) for number in taken]
    try:
        yield request
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
