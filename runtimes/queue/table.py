"""The state of each run of a queue as a table."""

import time

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from runtimes.queue.records import Records
from runtimes.queue.runs import Progress, Run


def state_of(run: Run, records: Records) -> tuple[str, str]:
    """Return the state of a run in a word or two, and a remark on it."""
    progress = Progress(run.path)
    if records.running()[0] == run.name and records.is_locked():
        return "running", _position(progress, with_end=True)
    record = records.read(run)
    if record is None or record.state == "interrupted":
        if not progress.has_begun:
            return "waiting", record.reason if record else ""
        return "stopped", _position(progress) + (f"; {record.reason}" if record else "")
    if record.state == "done":
        return "done", progress.result()
    return record.state, record.reason


def print_table(runs: list[Run], records: Records, console: Console) -> None:
    """Print a line for each run, by descending priority."""
    table = Table(Column("run", overflow="fold"), "priority", Column("state", no_wrap=True), "")
    for run in runs:
        state, detail = state_of(run, records)
        table.add_row(escape(run.name), str(run.entry.priority), state, escape(detail))
    console.print(table)


def _position(progress: Progress, with_end: bool = False) -> str:
    if not progress.has_begun:
        return "preparing"
    text = f"round {progress.round} of {progress.rounds}"
    seconds = progress.seconds_left
    if not with_end or seconds is None:
        return text
    end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + seconds))
    return f"{text}, expected end {end}"
