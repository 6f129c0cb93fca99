"""Write a report on runs and sweeps: ``python -m analysis report RUN ... --out report.html``."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from analysis.command import command
from analysis.comparison.report_sections import sections
from analysis.comparison.reported import Reported, read_reported
from analysis.page.html import to_html
from analysis.page.markdown import pictures, to_markdown
from analysis.page.parts import Page
from common.command_line import Parser
from common.errors import UserError
from common.files import write_atomic

PAGE_FILE = "report.html"
_WRITERS = (".html", ".htm", ".md")


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report and print its path."""
    parser = Parser(
        prog="python -m analysis report",
        description="A one-page report on runs and sweeps: results, curves, clients, costs, settings.",
    )
    parser.add_argument("directories", metavar="RUN", nargs="+", type=Path, help="run or sweep directory")
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=Path,
        default=Path(PAGE_FILE),
        help="a self-contained .html file, or an .md file with its pictures in a folder (report.html)",
    )
    parser.add_argument(
        "--metric", help="column of metrics.csv (default: the sweep's or the most informative)"
    )
    options = parser.parse_args(arguments)
    if options.out.suffix.lower() not in _WRITERS:
        raise UserError(f"cannot write a report into {options.out}: its name must end with .html or .md")
    print(write(read_reported(options.directories, options.metric), options.out))


def write(reported: Reported, out: Path) -> Path:
    """Write the report in the format given by the ending of the file's name; return the path.

    Raises
    ------
    UserError
        If a file of a run is damaged, or one of the report cannot be written.
    """
    page = Page(reported.title, sections(reported))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix.lower() != ".md":
            write_atomic(out, _bytes(to_html(page)))
            return out
        folder = out.with_name(f"{out.stem}_files")
        for picture in pictures(page):
            folder.mkdir(exist_ok=True)
            write_atomic(folder / picture.name, picture.content)
        write_atomic(out, _bytes(to_markdown(page, folder.name)))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from None
    return out


def write_page(directory: Path) -> None:
    """Write ``report.html`` into the directory of a finished run or sweep; a failure is only a warning."""
    try:
        write(read_reported([directory]), directory / PAGE_FILE)
    except UserError as error:
        warnings.warn(f"there is no report: {error}", stacklevel=2)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
