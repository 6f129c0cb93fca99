"""Work through a queue: choose the next run, and interpret its end."""

import errno
import re
import time
from collections.abc import Callable
from pathlib import Path

from common.errors import UserError
from runtimes.queue.file import QueueFile
from runtimes.queue.process import Stop, end_left_over, execute
from runtimes.queue.records import Record, Records
from runtimes.queue.runs import Progress, Run, runs_of

MAX_ATTEMPTS = 3
_STOPPED = 130  # the exit code of a run that was asked to stop
_DISK = re.compile(rf"\[Errno ({errno.ENOSPC}|{errno.EDQUOT}|{errno.EROFS}|{errno.EIO})\]")


def work(read: Callable[[], QueueFile]) -> int:
    """Run everything that is waiting; `read` is called before each run, as the file may have changed.

    Returns
    -------
    int
        0 if everything is done and nothing failed, 1 if something failed, 130 after a request to stop.

    Raises
    ------
    UserError
        If the file is invalid at the start, or still invalid when its previous runs are done; or if another
        queue works in the directory.
    OSError
        If a disk is full or broken; the run that met it first counts as not run.
    """
    file = read()
    runs = runs_of(file)
    records = Records(file.path)
    stop = Stop()
    with records.lock():
        stop.listen()
        end_left_over(records, stop, say)
        problem: UserError | None = None
        while not stop.requested:
            if (run := next_run(runs, records)) is None:
                if problem:
                    raise problem
                break
            _do(run, records, file.nice, stop)
            try:
                file, problem = read(), None
                runs = runs_of(file)
            except UserError as error:
                problem = error
                say(f"{error}; continuing with the runs that the file had before")
        records.note_running(None)
        if not stop.requested:
            _report(runs, file.path)
    if stop.requested:
        say("stopped; the same command resumes")
        return _STOPPED
    failed = [run.name for run in runs if (record := records.read(run)) and record.state == "failed"]
    if failed:
        say(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}")
    return 1 if failed else 0


def _report(runs: list[Run], directory: Path) -> None:
    """Write a report on all finished runs; a failure is only one line, since the runs are complete."""
    from analysis.comparison.report import PAGE_FILE, write
    from analysis.comparison.reported import read_reported

    ended = [path for path in dict.fromkeys(run.path for run in runs) if (path / "summary.json").is_file()]
    if not ended:
        return
    try:
        say(f"report: {write(read_reported(ended), directory / PAGE_FILE)}")
    except UserError as error:
        say(f"there is no report: {error}")


def next_run(runs: list[Run], records: Records) -> Run | None:
    """Return the run of highest priority that is not done, failed or given up."""
    for run in runs:
        record = records.read(run)
        if record is None or record.state == "interrupted":
            return run
    return None


def _do(run: Run, records: Records, nice: int, stop: Stop) -> None:
    before = records.read(run)
    progress = Progress(run.path)
    where = (
        f", from round {progress.committed_round} of {progress.rounds}"
        if progress.committed_round >= 0
        else ""
    )
    say(f"{run.name}: starts{where}")
    log = records.log_file(run)
    start_of_output = log.stat().st_size if log.exists() else 0
    code, given_up = execute(run, records, nice, stop)
    with log.open("rb") as file:
        file.seek(start_of_output)
        output = file.read().decode(errors="replace")
    if stop.requested and code not in (0, 1, 2) and not given_up:
        reached = Progress(run.path).committed_round
        where = f"after round {reached}" if reached >= 0 else "before its first checkpoint"
        say(f"{run.name}: stopped {where}")
        return
    if code == 1 and _DISK.match(_last_words(output)):  # so would every other run fail
        raise OSError(f"{run.name} ended: {_last_words(output)}")
    record = outcome(run, code, given_up, output, before)
    records.write(run, record)
    result = Progress(run.path).result() if record.state == "done" else record.reason
    say(f"{run.name}: {record.state}{f', {result}' if result else ''}")


def outcome(run: Run, code: int, given_up: str, output: str, before: Record | None) -> Record:
    """Return what the end of a process means.

    Parameters
    ----------
    run : Run
        The run.
    code : int
        Its exit code.
    given_up : str
        Why the queue ended it; empty if it did not.
    output : str
        Its output.
    before : Record or None
        The previous record.
    """
    if code == 0:
        return Record(run.key, "done")
    committed = Progress(run.path).committed_round
    if given_up:
        return Record(run.key, "given up", given_up, committed)
    if code in (1, 2):
        return Record(run.key, "failed", _last_words(output), committed)
    no_further = before is not None and before.state == "interrupted" and committed <= before.round
    attempts = before.attempts + 1 if before and no_further else 1
    reason = "it was stopped" if code == _STOPPED else f"its process ended with {_describe(code)}"
    if attempts >= MAX_ATTEMPTS:
        return Record(run.key, "failed", f"{reason}, {attempts} times without a commit between", committed)
    return Record(run.key, "interrupted", reason, committed, attempts)


def say(text: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}", flush=True)


def _describe(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_words(output: str) -> str:
    """Return the reason for a failure from the output of ``run_simulation.py``."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in ("failed, the others continue: ", "error: "):
        for line in reversed(lines):
            if mark in line:
                return line.partition(mark)[2]
    return lines[-1] if lines else "no output"
