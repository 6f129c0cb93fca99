"""One run as the live page shows it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.live.files import STOPS, Rows, is_written, last_end, read_object, read_rows, read_total

_RECENT = 10  # rounds whose mean duration predicts the remaining time


@dataclass(frozen=True)
class RunView:
    """The known state of a run.

    Attributes
    ----------
    name : str
        Its name on the page.
    state : str
        ``waiting``, ``running``, ``finished``, ``stopped`` or ``failed``.
    remark : str
        Why it stopped or failed, or what cannot be read.
    rows : Rows
        Its numbers.
    total : int or None
        Number of rounds requested.
    failures : int
        Number of failed client jobs.
    seconds_per_round : float or None
        Mean of the last rounds.
    """

    name: str
    state: str
    remark: str
    rows: Rows
    total: int | None
    failures: int
    seconds_per_round: float | None

    @property
    def remaining(self) -> float | None:
        """Expected seconds for the remaining rounds; None if unknown."""
        if self.total is None or self.seconds_per_round is None:
            return None
        return max(0, self.total - max(0, self.rows.last_round)) * self.seconds_per_round

    def shown(self, metrics: list[str]) -> dict[str, Any]:
        """Return the row of the page's table."""
        ends = self.remaining if self.state == "running" else None
        return {
            "name": self.name,
            "state": self.state,
            "remark": self.remark,
            "round": max(0, self.rows.last_round),
            "total": self.total,
            "failures": self.failures,
            "seconds_per_round": self.seconds_per_round,
            "end": None if ends is None else time.time() + ends,
            "latest": {metric: self.rows.latest(metric) for metric in metrics},
        }


def view_run(path: Path, name: str) -> RunView:
    """Read as much of a run directory as possible; never fails."""
    remark = ""
    rows = Rows()
    try:
        rows = read_rows(path / "metrics.csv")
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        remark = f"metrics.csv cannot be read: {error}"
    pace = _seconds_per_round(rows)
    summary, total = read_object(path / "summary.json"), read_total(path)
    state, why = _state(path, rows, summary, total, pace)
    failed = sum(value for _, value in rows.curves.get("failures", ()))
    return RunView(name, state, "; ".join(filter(None, (remark, why))), rows, total, int(failed), pace)


def _state(
    path: Path, rows: Rows, summary: dict[str, Any], total: int | None, pace: float | None
) -> tuple[str, str]:
    if is_written(path, pace):
        return "running", ""
    stopped, done = str(summary.get("stopped") or ""), summary.get("rounds")
    if summary and (stopped or total is None or (isinstance(done, int) and done >= total)):
        return "finished", stopped
    error, text = last_end(path)
    if error and error not in STOPS:
        return "failed", f"{error}: {text}"
    if error or rows.last_round >= 0 or total is not None:
        return "stopped", "--resume continues it"
    return "waiting", ""


def _seconds_per_round(rows: Rows) -> float | None:
    seconds = [value for number, value in rows.curves.get("seconds", ()) if number > 0][-_RECENT:]
    return sum(seconds) / len(seconds) if seconds else None
