"""A trace of one round: which operators of this process it spends its time on.

``run_simulation.py --profile`` is short for this observer.
"""

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from common.errors import UserError
from server.observers._observer import Observer, Round
from server.parts import Parts, Run

FILE = "profile.json"
_MAX_SHOWN, _WIDEST = 10, 60


class Profile(Observer):
    """Traces the second round that this process makes, and shows the ten operators that took longest.

    The trace, for ``chrome://tracing`` or ui.perfetto.dev, begins with what is written of the round before.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._profiler: Any = None
        self._is_done = False
        if parts.config.rounds < 2:
            raise UserError("a profile (--profile) is of the second round: set rounds to 2 or more")

    def start(self, run: Run) -> None:
        """Report which processes the trace does not cover."""
        super().start(run)
        is_remote = self.parts.config.runtime.name != "sequential" or bool(self.parts.clients.versions)
        if is_remote:
            run.progress.note(
                "the profile covers what the server does (sending, reducing, evaluating, writing), not those"
                " that train: the sequential runtime does all in one"
            )

    def on_round(self, current: Round) -> None:
        """Begin after the first round, and end after the one that follows."""
        if self._profiler is not None:
            self._finish(current.number)
        elif current.number > 0 and not self._is_done and not current.is_last:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it would report every stage on stderr
            self._profiler = profile(activities=_activities())
            self._profiler.start()

    def end(self) -> None:
        """Discard a trace whose round did not end, and report it."""
        if self._profiler is not None:
            self._profiler.stop()
        if not self._is_done:
            self.run.progress.note("there is no profile: the run ended before its second round did")

    def _finish(self, number: int) -> None:
        profiler, self._profiler, self._is_done = self._profiler, None, True
        profiler.stop()
        path = self.run.run_directory.path / FILE
        unfinished = path.with_name(f".{FILE}")
        profiler.export_chrome_trace(str(unfinished))
        os.replace(unfinished, path)
        for line in _table(profiler.key_averages(), number):
            self.run.progress.note(line)


def _activities() -> list[ProfilerActivity]:
    gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    return [ProfilerActivity.CPU, *gpu]


def _table(events: Any, number: int) -> Iterator[str]:
    """Yield the lines of the table: what took longest by itself, on the GPU where that has worked."""
    of_gpu = sum(event.self_device_time_total for event in events) > 0
    name = "self_device_time_total" if of_gpu else "self_cpu_time_total"
    total = sum(getattr(event, name) for event in events)
    where = "on the GPU" if of_gpu else "on the CPU"
    yield f"profile of round {number} in {FILE}: {total / 1000:.1f} ms in operators {where}, the dearest are"
    yield f"{'ms':>10} {'%':>6} {'calls':>8}  operator"
    for event in sorted(events, key=lambda event: getattr(event, name), reverse=True)[:_MAX_SHOWN]:
        taken = getattr(event, name)
        share = 100 * taken / total if total else 0.0
        yield f"{taken / 1000:10.1f} {share:6.1f} {event.count:8}  {event.key[:_WIDEST]}"
