"""The frame of the commands ``python -m analysis <name>``."""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from common.command_line import Parser, guarded

Draw = Callable[[argparse.Namespace], Path]


def command(main: Callable[[Sequence[str] | None], None]) -> Callable[..., int]:
    """Let a command return its exit code: 0, or 2 after one line that says what is wrong."""

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        def call() -> int:
            main(arguments)
            return 0

        return guarded(call)

    return run


def draw_command(
    name: str,
    description: str,
    draw: Draw,
    arguments: Sequence[str] | None,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Parse ``RUN_DIR`` and further options, draw, print the picture's path and return the exit code."""
    parser = Parser(prog=f"python -m analysis {name}", description=description)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run directory")
    add_options(parser)

    @command
    def run(arguments: Sequence[str] | None) -> None:
        print(draw(parser.parse_args(arguments)))

    return run(arguments)
