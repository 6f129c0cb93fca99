"""What the commands ``python -m analysis <name>`` share: exit codes, options, a loop over runs."""

import argparse
import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.reading.selection import begun_runs
from analysis.style import ENDINGS, check_picture_file, drawing
from analysis.tables import check_table_file
from common.command_line import Parser, guarded
from common.errors import UserError

Draw = Callable[[Path, argparse.Namespace], Path]


def command(main: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Make a command return an exit code: 0, or 2 after printing what is wrong in one line."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        def call() -> int:
            main(arguments)
            return 0

        return guarded(call)

    return run


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument for the runs, ``options.directories``."""
    parser.add_argument(
        "directories",
        metavar="RUN",
        nargs="+",
        type=Path,
        help="run or sweep directory, a folder of them, or a pattern such as 'runs/*'",
    )


def add_picture(parser: argparse.ArgumentParser, what: str = "draw into this file") -> None:
    """Add ``--out``, the file of the picture."""
    parser.add_argument("--out", metavar="FILE", type=Path, help=f"{what} ({', '.join(ENDINGS)})")


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add ``--table``, the file of the table."""
    parser.add_argument(
        "--table", metavar="FILE", type=Path, help="also write the table into this file (.csv, .md, .tex)"
    )


def check_files(options: argparse.Namespace) -> None:
    """Refuse file names that do not end in a known format."""
    check_picture_file(getattr(options, "out", None))
    check_table_file(getattr(options, "table", None))


def check_single(options: argparse.Namespace, found: Sequence[Path], what: str) -> None:
    """Refuse ``--out`` and ``--table`` with more than one `what`."""
    if len(found) > 1 and (options.out or options.table):
        raise UserError(f"--out and --table take one {what}, not {len(found)}: leave them out")


def draw_command(
    name: str,
    description: str,
    draw: Draw,
    arguments: Sequence[str] | None,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Draw the picture of each run on the command line, print the paths and return the exit code.

    With several runs, those without data for the picture are skipped with a warning.
    """
    parser = Parser(prog=f"python -m analysis {name}", description=description)
    add_runs(parser)
    add_picture(parser, "file of the picture, for a single run (default: in plots/ of each run)")
    add_options(parser)

    @command
    def run(arguments: Sequence[str] | None) -> None:
        options = parser.parse_args(arguments)
        check_files(options)
        runs = begun_runs(options.directories)
        if options.out and len(runs) > 1:
            raise UserError(f"--out takes the picture of one run, not {len(runs)}: leave it out")
        with drawing(into=options.out):
            for_each(runs, lambda path: print(draw(path, options)))

    return run(arguments)


def for_each(runs: Sequence[Path], do: Callable[[Path], object]) -> None:
    """Call `do` with each run; with several runs, those for which it fails are skipped with a warning.

    Raises
    ------
    UserError
        The first error, if it fails for all runs.
    """
    problems: list[UserError] = []
    for path in runs:
        try:
            do(path)
        except UserError as error:
            problems.append(error)
    if len(problems) == len(runs):
        raise problems[0]
    for problem in problems:
        warnings.warn(f"left out: {problem}", stacklevel=2)
