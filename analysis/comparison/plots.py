"""Redraw all pictures of runs: ``python -m analysis plots RUN ... [--as pdf,svg]``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.command import add_runs, command, for_each
from analysis.reading.run_directory import NoDataError
from analysis.reading.selection import begun_runs
from analysis.report import write_plots
from analysis.style import ENDINGS, drawing
from common.command_line import Parser
from common.errors import UserError


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the pictures and print their paths."""
    parser = Parser(
        prog="python -m analysis plots",
        description="Redraw all pictures of runs, finished or not, in plots/ of each.",
    )
    add_runs(parser)
    parser.add_argument(
        "--as", dest="endings", metavar="ENDING[,ENDING]", default="png", help="png, pdf, svg"
    )
    options = parser.parse_args(arguments)
    endings = [f".{name.strip().lstrip('.').lower()}" for name in options.endings.split(",")]
    if unknown := [ending for ending in endings if ending not in ENDINGS]:
        raise UserError(f"--as takes {', '.join(ENDINGS)}, separated by commas, not '{unknown[0]}'")
    with drawing(endings):
        for_each(begun_runs(options.directories), lambda path: _draw(path, endings))


def _draw(run_dir: Path, endings: Sequence[str]) -> None:
    pictures = write_plots(run_dir)
    if not pictures:
        raise NoDataError(f"{run_dir} has nothing to draw yet")
    for picture in pictures:
        print(*(picture.with_suffix(ending) for ending in endings), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
