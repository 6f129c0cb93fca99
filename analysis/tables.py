"""Tables: on the screen, and as Markdown, CSV or LaTeX files by their ending."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.command_line import make_console
from common.errors import UserError
from common.files import write_atomic

Rows = Sequence[Sequence[str]]

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_"},
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
}  # fmt: skip
_NUMBER = re.compile(r"[-+]?\d[\d.,e+-]*( ± [\d.]+)?( \([-+\d.e]+\)| \(\d+ of \d+\))?|-|")


def as_markdown(header: Sequence[str], rows: Rows) -> str:
    """Return a table as Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = ([" ".join(cell.split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


def as_csv(header: Sequence[str], rows: Rows) -> str:
    """Return a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def as_latex(header: Sequence[str], rows: Rows) -> str:
    r"""Return a ``tabular`` with booktabs rules; columns of numbers are right-aligned."""
    columns = "".join(
        "r" if position and all(_NUMBER.fullmatch(row[position]) for row in rows) else "l"
        for position in range(len(header))
    )
    lines = [" & ".join(map(latex_text, line)) + r" \\" for line in (header, *rows)]
    body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"])


def latex_text(text: str) -> str:
    """Return text escaped for LaTeX; a hyphen before a number becomes a minus sign."""
    if re.fullmatch(r"-\d.*", text):
        return f"$-${latex_text(text[1:])}"
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


_WRITERS: dict[str, Callable[[Sequence[str], Rows], str]] = {
    ".csv": as_csv,
    ".md": lambda header, rows: as_markdown(header, rows) + "\n",
    ".tex": lambda header, rows: as_latex(header, rows) + "\n",
}


def check_table_file(path: Path | None) -> None:
    """Refuse a file name without a known table format, before anything is computed.

    Raises
    ------
    UserError
        If its ending is not .csv, .md or .tex.
    """
    if path is not None and path.suffix.lower() not in _WRITERS:
        raise UserError(f"cannot write a table into {path}: its name must end with {', '.join(_WRITERS)}")


def write_table(path: Path, header: Sequence[str], rows: Rows) -> Path:
    """Write a table in the format given by the ending of the file's name; return the path.

    Raises
    ------
    UserError
        If the ending is not that of a known format, or the file cannot be written.
    """
    check_table_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = _WRITERS[path.suffix.lower()](header, rows)
        write_atomic(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def print_table(
    header: Sequence[str], rows: Rows, console: Console | None = None, *, title: str | None = None
) -> None:
    """Print a table; markup in its cells is shown as text."""
    table = Table(title=None if title is None else escape(title), title_justify="left")
    for number, name in enumerate(header):
        is_number = number and all(_NUMBER.fullmatch(row[number]) for row in rows)
        table.add_column(escape(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    (console or make_console()).print(table)
