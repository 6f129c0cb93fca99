"""Tables of text files, encoded as numeric arrays."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError, nearest, shown
from common.files import read_text

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_MAX_CATEGORIES = 1000
_SLIPS = 0.1  # up to this share of non-numbers, a column is taken for a numeric one with typing errors


@dataclass(frozen=True, eq=False)
class Table:
    """The fields of a file by column, and the line of each row."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def check_column(self, name: str, key: str) -> None:
        """Raise if there is no such column; `key` is the configuration key that names it."""
        if name not in self.columns:
            prefix = f"{key}: " if key else ""
            known = ", ".join(list(self.columns)[:20])
            raise UserError(
                f"{prefix}{self.path} has no column '{name}'{nearest(name, self.columns)} (it has: {known})"
            )

    def filled(self, name: str) -> list[str]:
        """Return a column; raise if a value is missing."""
        for line, value in zip(self.lines, self.columns[name], strict=True):
            if _is_missing(value):
                raise UserError(f"{self.path}, line {line}: the column '{name}' is empty")
        return self.columns[name]

    def numbers(self, name: str) -> np.ndarray | None:
        """Return a column as float64, NaN where a value is missing; None if it is a column of texts.

        Raises
        ------
        UserError
            If all but a few values are numbers: a typing error would turn the column into categories.
        """
        values = [_number(value) for value in self.columns[name]]
        others = [index for index, value in enumerate(values) if value is None]
        if not others:
            return np.array(values, dtype=np.float64)
        if len(others) <= _SLIPS * len(values) or all(_is_infinite(self.columns[name][i]) for i in others):
            line, value = self.lines[others[0]], shown(self.columns[name][others[0]])
            raise UserError(
                f"{self.path}, line {line}: {value} in the column '{name}' is not a finite number, unlike the"
                " others: leave it empty, or name the column in dataset.categorical"
            )
        return None


@dataclass(frozen=True)
class Encoder:
    """Encodes the input columns as numbers.

    Attributes
    ----------
    means : dict
        Numeric column → mean of its values in the rows that are trained on.
    categories : dict
        Other column → its values in those rows, sorted. Any other value is encoded as zeros.
    """

    columns: Sequence[str]
    means: dict[str, float]
    categories: dict[str, list[str]]

    @classmethod
    def of(
        cls,
        train: Table,
        rows: npt.NDArray[np.int64],
        columns: Sequence[str],
        numeric: Mapping[str, npt.NDArray[np.float64]],
    ) -> "Encoder":
        """Fit the encoder to rows of the training table.

        Parameters
        ----------
        train : Table
            The whole table.
        rows : numpy.ndarray
            The rows that are trained on, ascending.
        columns : sequence of str
            The columns to encode.
        numeric : mapping
            Those of them that are numeric → ``Table.numbers``.

        Raises
        ------
        UserError
            If a column has no value in these rows, or too many categories.
        """
        means: dict[str, float] = {}
        categories: dict[str, list[str]] = {}
        for name in columns:
            if name in numeric:
                numbers = numeric[name][rows]
                if np.isnan(numbers).all():
                    raise UserError(
                        f"{train.path}: the column '{name}' has no value in the rows to train on: name it in"
                        " dataset.drop"
                    )
                means[name] = float(np.nanmean(numbers))
                continue
            categories[name] = sorted({_category(train.columns[name][row]) for row in rows})
            if len(categories[name]) > _MAX_CATEGORIES:
                raise UserError(
                    f"{train.path}: the column '{name}' has {len(categories[name])} different values, more"
                    f" than {_MAX_CATEGORIES} categories: name it in dataset.drop"
                )
        return cls(columns, means, categories)

    def remark(self, train: npt.NDArray[np.float64]) -> str:
        """Return a summary for the log."""
        num_inputs = len(self.means) + sum(map(len, self.categories.values()))
        return (
            f"{len(self.means)} columns of numbers and {len(self.categories)} of categories make {num_inputs}"
            " inputs"
        )

    num_tokens = 0  # its inputs are no tokens

    def encoded(self, table: Table) -> np.ndarray:
        """Return the inputs of a table, float64 (rows, inputs).

        Raises
        ------
        UserError
            If a numeric column has a value that is not a number.
        """
        parts = []
        for name in self.columns:
            if name in self.means:
                parts.append(self._numbers(table, name)[:, None])
            else:
                number = {value: index for index, value in enumerate(self.categories[name])}
                codes = np.array([number.get(_category(value), -1) for value in table.columns[name]])
                parts.append((codes[:, None] == np.arange(len(number))).astype(np.float64))
        return np.concatenate(parts, axis=1)

    def _numbers(self, table: Table, name: str) -> np.ndarray:
        numbers = table.numbers(name)
        if numbers is None:
            line, value = next(
                (line, value)
                for line, value in zip(table.lines, table.columns[name], strict=True)
                if _number(value) is None
            )
            raise UserError(
                f"{table.path}, line {line}: '{value}' in the column '{name}' is not a finite number,"
                " as all are in the training set"
            )
        return np.where(np.isnan(numbers), self.means[name], numbers)


def read_table(path: Path, delimiter: str) -> Table:
    """Read a file of comma-separated values, UTF-8, whose first line names the columns.

    Raises
    ------
    UserError
        If it is missing, is not text, or has no rows, rows of different lengths, or another delimiter.
    """
    if not path.exists():
        raise UserError(
            f"there is no {path}: dataset 'csv' reads train.csv and test.csv in dataset.root;"
            " without a test.csv set dataset.test-fraction, such as 0.2"
        )
    reader = csv.reader(io.StringIO(read_text(path, "dataset.root"), newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if row:
                rows.append([field.strip() for field in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {error}") from None
    if len(rows) < 2:
        raise UserError(f"{path} needs a line with the names of the columns and at least one row")
    header, *body = rows
    for other in ",;\t|":
        if len(header) == 1 and all(any(other in field for field in row) for row in rows):
            raise UserError(
                f"the fields of {path} are separated by {other!r}: dataset.delimiter={json.dumps(other)}"
            )
    if doubled := sorted({name for name in header if header.count(name) > 1}):
        raise UserError(f"{path}: two columns are called '{doubled[0]}'")
    for line, row in zip(lines[1:], body, strict=True):
        if len(row) != len(header):
            raise UserError(f"{path}, line {line}: {len(row)} fields instead of {len(header)}")
    return Table(path, dict(zip(header, map(list, zip(*body, strict=True)), strict=True)), lines[1:])


def _is_missing(value: str) -> bool:
    return value.lower() in _MISSING


def _is_infinite(value: str) -> bool:
    try:
        return not np.isfinite(float(value))
    except ValueError:
        return False


def _category(value: str) -> str:
    return "" if _is_missing(value) else value


def _number(value: str) -> float | None:
    if _is_missing(value):
        return float("nan")
    try:
        number = float(value)
    except ValueError:
        return None
    return number if np.isfinite(number) and "_" not in value else None
