"""What every command line shares: one-line errors, and no traceback for a closed pipe."""

import argparse
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from rich.console import Console

from common.errors import UserError, one_line, print_error
from common.reading import check_arguments

_WIDTH_OF_FILES = 10_000


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors, without abbreviated options and markup in its description."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})  # type: ignore[arg-type]
        self.description = self.description and self.description.replace("``", "'")

    def parse_args(self, args: Sequence[str] | None = None, namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse arguments that are text, with options before, between and after the names."""
        check_arguments(sys.argv[1:] if args is None else args)
        if any(action.nargs == argparse.PARSER for action in self._actions):
            return super().parse_args(args, namespace)
        return super().parse_intermixed_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError`, which the command line prints as one line."""
        _, _, unknown = message.partition("unrecognized arguments: ")
        if "--set" in self._option_string_actions and _is_assignment(unknown):
            raise UserError(f"unrecognized argument {unknown}; did you mean --set {unknown}?")
        raise UserError(f"{message} (--help lists the options)")


def check_slips(experiment: Path | None, assignments: Sequence[str]) -> None:
    """Refuse an assignment without ``--set``, or with a space in place of its ``=``, and say so.

    Both leave a part of the assignment where the experiment file is expected.
    """
    if experiment is None or experiment.exists():
        return
    if lone := next((text for text in assignments if "=" not in text), ""):
        raise UserError(f"--set takes key=value; did you mean --set {lone}={experiment}?")
    if _is_assignment(str(experiment)):
        raise UserError(f"there is no experiment file {experiment}; did you mean --set {experiment}?")


def _is_assignment(text: str) -> bool:
    return re.match(r"[a-z][a-z0-9.-]*=", text) is not None


def show_warnings_as_lines() -> None:
    """Show warnings as plain sentences, without the file and line of the code that raised them.

    Standard streams that were closed are opened on nothing, so that no file takes their number.
    """
    _open_closed_streams()
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):  # file names need not be valid text
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _open_closed_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # each takes the lowest number
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {one_line(str(message))}", file=file or sys.stderr, flush=True)


def guarded(run: Callable[[], int]) -> int:
    """Run a command; return its exit code: 2 after a one-line error for wrong input, 130 after Ctrl-C.

    1 after one line for an error of files or connections, such as a full disk.

    If the reader of its output closes the pipe (``... | head``), it ends silently.
    """
    try:
        code = run()
        sys.stdout.flush()
    except UserError as error:
        print_error(error)
        return 2
    except BrokenPipeError:
        leave_closed_pipe()
        return 0
    except OSError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def end_as_by_ctrl_c() -> None:
    """Have SIGTERM, and SIGHUP except under nohup, end this process as Ctrl-C does, with its clean-up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def leave_closed_pipe() -> None:
    """Silence the error of a standard output without a reader, as in ``... | head``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console() -> Console:
    """Return a console as wide as the terminal; into a pipe or a file no table is cut or wrapped."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return _Console()
    return _Console(width=_WIDTH_OF_FILES)


class _Console(Console):
    """A console that leaves a closed pipe to `guarded`; rich's own ends the process with exit code 1."""

    def on_broken_pipe(self) -> None:
        """Re-raise the error for `guarded`."""
        raise BrokenPipeError
