"""Run a queue of experiments, one process at a time, or show its progress.

python -m runtimes.queue FILE [--set key=value ...] [--directory DIR] [--status | --retry NAME ...]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, guarded, make_console, show_warnings_as_lines
from common.config_values import parse_assignment
from common.errors import UserError
from runtimes.queue.file import QueueFile, read_queue_file
from runtimes.queue.records import Records
from runtimes.queue.runs import Run, runs_of
from runtimes.queue.table import print_table
from runtimes.queue.worker import work


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 something failed, 2 wrong input, 130 stopped and resumable."""
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    def read() -> QueueFile:
        overrides = dict(parse_assignment(text) for text in options.set)
        return read_queue_file(options.file, options.directory, overrides)

    if options.status or options.retry:
        file = read()
        runs, records = runs_of(file), Records(file.path)
        for name in options.retry:
            _retry(name, runs, records)
        print_table(runs, records, make_console())
        return 0
    try:
        return work(read)
    except OSError as error:
        print(f"error: {error}; the same command resumes", file=sys.stderr)
        return 1


def _retry(name: str, runs: list[Run], records: Records) -> None:
    chosen = [run for run in runs if name in (run.name, run.entry_name)]
    if not chosen:
        raise UserError(f"--retry: there is no run or entry '{name}'; --status lists them")
    for run in chosen:
        record = records.read(run)
        if record and record.state in ("failed", "given up"):
            records.forget(run)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m runtimes.queue",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("file", type=Path, metavar="FILE", help="TOML file of experiments (docs/queue.md)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one key of every run; repeatable",
    )
    add("--directory", default="", metavar="DIR", help="folder of all runs, overriding the file's")
    add("--status", action="store_true", help="show the progress of each run, and run nothing")
    add(
        "--retry",
        action="append",
        default=[],
        metavar="NAME",
        help="let a run, or all of an entry, that failed or was given up be tried again; repeatable",
    )
    return parser


if __name__ == "__main__":
    show_warnings_as_lines()
    sys.exit(main())
