"""Pivot tables: one configuration value per row and another per column."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from analysis.reading.runs import Run, is_accuracy, mean_text

MISSING = "-"


@dataclass
class Cell:
    """One cell of a pivot table: the runs of all seeds, and the published number."""

    runs: list[Run] = field(default_factory=list)
    published: float | None = None

    def text(self, scale: float, digits: int) -> str:
        """Return "mean ± sample standard deviation", and the published number in parentheses."""
        text = MISSING
        if self.runs:
            text = mean_text([run.final * scale for run in self.runs], digits)
        return text if self.published is None else f"{text} ({self.published:g})"


@dataclass
class Pivot:
    """Runs by row and column label.

    Attributes
    ----------
    corner : str
        Text of the corner cell: what rows and columns are.
    rows, columns : list of str
        Labels, in order.
    cells : dict
        (row, column) → `Cell`; some may be missing.
    """

    corner: str
    rows: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def at(self, row: str, column: str) -> Cell:
        """Return a cell; create it, and its labels, if it does not exist."""
        for labels, label in ((self.rows, row), (self.columns, column)):
            if label not in labels:
                labels.append(label)
        return self.cells.setdefault((row, column), Cell())

    def runs(self, row: str, column: str) -> list[Run]:
        """Return the finished runs of a cell."""
        cell = self.cells.get((row, column))
        return cell.runs if cell else []

    def finished(self) -> "Pivot":
        """Return the table without labels that have no finished run."""
        rows = [row for row in self.rows if any(self.runs(row, column) for column in self.columns)]
        columns = [column for column in self.columns if any(self.runs(row, column) for row in self.rows)]
        return Pivot(self.corner, rows, columns, self.cells)

    def table(self, metric: str) -> tuple[list[str], list[list[str]]]:
        """Return header and rows as text; accuracies in per cent."""
        scale, digits = (100, 2) if is_accuracy(metric) else (1, 4)
        body = [
            [row, *(self.cells.get((row, column), Cell()).text(scale, digits) for column in self.columns)]
            for row in self.rows
        ]
        return [self.corner, *self.columns], body

    @property
    def groups(self) -> list[tuple[str, list[Run]]]:
        """Label and runs of each cell that has any; the column's label only if there are several."""
        return [
            (f"{row} / {column}" if len(self.columns) > 1 else row, runs)
            for row in self.rows
            for column in self.columns
            if (runs := self.runs(row, column))
        ]

    @property
    def has_published(self) -> bool:
        """Whether any cell has a published number."""
        cells = (self.cells.get((row, column)) for row in self.rows for column in self.columns)
        return any(cell is not None and cell.published is not None for cell in cells)


def pivot_by_keys(runs: Iterable[Run], rows: Sequence[str], columns: Sequence[str]) -> Pivot:
    """Arrange runs by the values of configuration keys; a cell holds repetitions."""

    def label(keys: Sequence[str]) -> Callable[[Run], str]:
        return lambda run: ", ".join(str(run.config.get(key, "-")) for key in keys)

    pivot = Pivot(f"{', '.join(rows)} \\ {', '.join(columns)}")
    row_of, column_of = label(rows), label(columns)
    for run in runs:
        pivot.at(row_of(run), column_of(run)).runs.append(run)
    return pivot


def against(published: float | None, final: float, digits: int) -> list[str]:
    """Return the published number, and our difference from it."""
    return ["-", "-"] if published is None else [f"{published:g}", f"{final - published:+.{digits}f}"]
