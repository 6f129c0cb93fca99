"""How long the phases of a round take."""

import contextlib
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

PHASES = ("select", "send", "train", "reduce", "evaluate", "write")
COLUMNS = tuple(f"seconds_{phase}" for phase in PHASES)


class Stopwatch:
    """Counts every moment for one phase, the innermost that is open; a moment outside of all for none."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block for a phase."""
        self._enter(name)
        try:
            yield
        finally:
            self._leave()

    def during(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Yield the items; the time in which each is made counts for a phase, its use does not."""
        iterator = iter(items)
        while True:
            self._enter(name)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._leave()
            yield item
            del item  # who takes it decides how long it lives

    def take(self) -> dict[str, float]:
        """Return the columns of a row: the seconds of each phase since the last call."""
        self._count()
        seconds = list(self._seconds.values())
        self._seconds = dict.fromkeys(PHASES, 0.0)
        return dict(zip(COLUMNS, seconds, strict=True))

    def _enter(self, name: str) -> None:
        self._count()
        self._open.append(name)

    def _leave(self) -> None:
        self._count()
        self._open.pop()

    def _count(self) -> None:
        now = perf_counter()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now
