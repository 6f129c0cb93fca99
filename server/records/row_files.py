"""CSV files that grow row by row, and how a resumed run restores the rows of a checkpoint.

Before a checkpoint is committed, new rows are flushed to disk, in the file and in a copy below
``checkpoints/``; the checkpoint stores the number of rows, their hash, and the columns. Rows lost or changed
later are restored from the copy. If neither has them, the checkpoint is not used.
"""

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.files import read_regular, write_atomic

RowState = Mapping[str, Any]
"""``rows``, ``sha256`` and ``columns`` of a file at a checkpoint."""


class CsvLog:
    """A CSV file that grows by whole, flushed rows, and by a column for each new key of a row.

    Parameters
    ----------
    path : Path
        The file; if it is new, its header is written.
    columns : Sequence[str]
        The first columns; values missing from a row are left empty.
    copy : Path, optional
        Where a copy of the rows is kept; by default there is none.
    """

    def __init__(self, path: Path, columns: Sequence[str], copy: Path | None = None) -> None:
        self._path = path
        self._copy = copy
        self._first_columns = list(columns)
        header, *rows = _lines(path) or [""]
        self._columns = _fields(header) or self._first_columns
        self._file = path.open("ab")
        self._uncommitted: list[str] = []
        self._count(rows)
        if not header:
            self._write(self._columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row."""
        if new := [key for key, value in row.items() if key not in self._columns and value is not None]:
            self._add_columns(new)
        line = self._write([_format(row.get(column)) for column in self._columns])
        self.num_rows += 1
        self._hash.update(_normal(line))
        self._uncommitted.append(line)

    def commit(self) -> RowState:
        """Flush the rows to disk, in the file and its copy; return what a checkpoint stores of them."""
        if self._uncommitted:
            os.fsync(self._file.fileno())
            if self._copy:
                self._copy.parent.mkdir(exist_ok=True)
                with self._copy.open("ab") as file:
                    file.write(b"".join(map(_normal, self._uncommitted)))
                    file.flush()
                    os.fsync(file.fileno())
            self._uncommitted = []
        return {"rows": self.num_rows, "sha256": self._hash.hexdigest(), "columns": self._columns}

    def restore(self, state: RowState) -> str:
        """Restore the rows of a checkpoint; return a remark if the file did not have them.

        Raises
        ------
        ValueError
            If its copy does not have them either.
        """
        lines, remark = _find_rows(self._path, self._copy, state)
        self._columns = _fields(lines[0])
        self._rewrite(lines)
        self._rewrite_copy(lines[1:])
        return remark

    def restart(self) -> None:
        """Delete all rows."""
        self._columns = self._first_columns
        self._rewrite([_csv_line(self._columns)])
        self._rewrite_copy([])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add_columns(self, names: Sequence[str]) -> None:
        _, *rows = _lines(self._path)
        self._columns = [*self._columns, *names]
        self._rewrite([_csv_line(self._columns), *(row + "," * len(names) for row in rows)])

    def _rewrite(self, lines: Sequence[str]) -> None:
        self._file.close()
        write_atomic(self._path, _text(lines))
        self._file = self._path.open("ab")
        self._count(lines[1:])

    def _rewrite_copy(self, rows: Sequence[str]) -> None:
        self._uncommitted = []
        if self._copy and (rows or self._copy.exists()):
            self._copy.parent.mkdir(exist_ok=True)
            write_atomic(self._copy, b"".join(map(_normal, rows)))

    def _count(self, rows: Sequence[str]) -> None:
        self.num_rows = len(rows)
        self._hash = hashlib.sha256(b"".join(map(_normal, rows)))

    def _write(self, values: Sequence[str]) -> str:
        line = _csv_line(values)
        self._file.write(_text([line]))
        self._file.flush()
        return line


class RowFiles:
    """The growing files of a run directory: ``<name>.csv``, copied to ``checkpoints/rows-<name>.csv``.

    Parameters
    ----------
    directory : Path
        The run directory.
    resume : bool
        Whether existing files are continued; otherwise they start empty.
    """

    def __init__(self, directory: Path, resume: bool) -> None:
        self._directory = directory
        self._resume = resume
        self._logs: dict[str, CsvLog] = {}

    def open(self, name: str, columns: Sequence[str]) -> CsvLog:
        """Return a growing file, with these first columns if it is new."""
        path, copy = _paths(self._directory, name)
        is_old = path.exists() or copy.exists()
        self._logs[name] = CsvLog(path, columns, copy)
        if is_old and not self._resume:
            self._logs[name].restart()
        return self._logs[name]

    def commit(self) -> dict[str, RowState]:
        """Flush all rows to disk; return what a checkpoint stores of each file."""
        return {name: log.commit() for name, log in self._logs.items()}

    def restore(self, states: Mapping[str, RowState]) -> list[str]:
        """Restore the rows of a checkpoint; return remarks on files that did not have them.

        Files that the checkpoint does not know are emptied.
        """
        remarks = []
        for name, log in self._logs.items():
            if name in states:
                remarks.append(log.restore(states[name]))
            else:
                log.restart()
        return [remark for remark in remarks if remark]

    def restart(self) -> None:
        """Delete all rows."""
        for log in self._logs.values():
            log.restart()

    def close(self) -> None:
        """Close all files."""
        for log in self._logs.values():
            log.close()


def check_rows(directory: Path, states: Mapping[str, RowState]) -> None:
    """Check that a run directory still has the rows of a checkpoint, in its files or in their copies.

    Raises
    ------
    ValueError
        If it does not.
    """
    for name, state in states.items():
        _find_rows(*_paths(directory, name), state)


def _paths(directory: Path, name: str) -> tuple[Path, Path]:
    """Return where a growing file is, and the copy of its rows."""
    return directory / f"{name}.csv", directory / "checkpoints" / f"rows-{name}.csv"


def _find_rows(path: Path, copy: Path | None, state: RowState) -> tuple[list[str], str]:
    """Return the header and the rows of a checkpoint, and a remark if the file itself lacks them."""
    columns, num_rows = list(state["columns"]), int(state["rows"])
    header, *rows = _lines(path) or [""]
    found = _fields(header)
    if found[: len(columns)] == columns and _has(rows, state):
        return [header, *rows[:num_rows]], ""
    lost = f"has {len(rows)} of {num_rows} rows" if len(rows) < num_rows else "was changed"
    copied = _lines(copy) if copy else []
    if not _has(copied, state):
        raise ValueError(f"{path.name} {lost}, and its copy checkpoints/rows-{path.name} lacks them")
    whole = [line + "," * (len(columns) - max(1, len(_fields(line)))) for line in copied[:num_rows]]
    return [_csv_line(columns), *whole], f"{path.name} {lost}: they were taken from their copy"


def _has(rows: Sequence[str], state: RowState) -> bool:
    kept = rows[: int(state["rows"])]
    digest = hashlib.sha256(b"".join(map(_normal, kept))).hexdigest()
    return len(kept) == int(state["rows"]) and digest == str(state["sha256"])


def _normal(line: str) -> bytes:
    """Return a row as it is hashed and copied: columns added later do not change it."""
    return _text([line.rstrip(",")])


def _lines(path: Path) -> list[str]:
    """Return the lines of a file; none if there is no such file, or it cannot be read."""
    try:
        text = read_regular(path).decode("utf-8", "surrogateescape")
    except OSError:
        return []
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _fields(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _csv_line(values: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([" ".join(value.splitlines()) for value in values])
    return line.getvalue()


def _format(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
