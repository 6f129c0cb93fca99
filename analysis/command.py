"""The frame of commands that draw one picture of one run."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import UserError

Draw = Callable[[argparse.Namespace], Path]


def draw_command(
    name: str,
    description: str,
    draw: Draw,
    arguments: Sequence[str] | None,
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> int:
    """Parse ``RUN_DIR`` and further options, draw, print the picture's path and return the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m analysis.{name}", description=description)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run directory")
    add_options(parser)
    try:
        print(draw(parser.parse_args(arguments)))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
