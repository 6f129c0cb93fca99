"""Tables with a row per client: as CSV, and in full as arrays if there are too many clients for CSV.

With more than ``MAX_ROWS`` clients, ``<name>.csv`` has that many, evenly spaced, and ``<name>.npz`` has all.
"""

import csv
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import write_atomic

MAX_ROWS = 10_000

# What a damaged .npz raises: a broken archive, a truncated or foreign array, pickles, sizes of terabytes.
DAMAGED_NPZ = (
    ValueError, KeyError, TypeError, OSError, EOFError, MemoryError, OverflowError, NotImplementedError,
    RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def evenly_spaced(count: int, most: int = MAX_ROWS) -> npt.NDArray[np.int64]:
    """Return at most `most` of the positions 0 to count - 1, including the first and the last."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def write_table(path: Path, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write ``client_id`` and columns, each with a value per client, as ``path`` and maybe ``.npz``."""
    count = len(next(iter(columns.values())))
    shown = evenly_spaced(count)
    values = [shown.tolist(), *(column[shown].tolist() for column in columns.values())]
    _write_csv(path, ["client_id", *columns], zip(*values, strict=True))
    _write_all(path.with_suffix(".npz"), dict(columns), count)


def read_table(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[np.generic]] | None:
    """Return the columns of all clients of ``path``'s table; None if it has no ``.npz``.

    Raises
    ------
    UserError
        If the ``.npz`` cannot be read, or is not such a table.
    """
    return _read_all(path.with_suffix(".npz"), names)


def write_counts(
    path: Path, sizes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], names: Sequence[str]
) -> None:
    """Write ``client_id``, ``num_examples`` and a column per class; the ``.npz`` has the non-zero counts.

    Client k holds ``counts[i]`` labels of class ``classes[i]`` for i from ``offsets[k]`` to
    ``offsets[k + 1] - 1``.

    Parameters
    ----------
    path : Path
        The CSV file.
    sizes : numpy.ndarray
        int64, (clients,): number of samples, which may have several labels each.
    counts : numpy.ndarray
        int64, (clients, classes): number of labels.
    names : sequence of str
        Names of the classes.
    """
    shown = evenly_spaced(len(counts))
    rows = np.column_stack([shown, sizes[shown], counts[shown]])
    _write_csv(path, ["client_id", "num_examples", *names], rows.tolist())
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    if len(counts) > MAX_ROWS:
        clients, classes = np.nonzero(counts)
        offsets = np.searchsorted(clients, np.arange(len(counts) + 1))
        values = counts[clients, classes].astype(np.min_scalar_type(counts.max()))
        arrays = {"offsets": offsets, "classes": classes.astype(np.int32), "counts": values}
    _write_all(path.with_suffix(".npz"), arrays, len(counts))


def read_counts(path: Path, num_classes: int) -> npt.NDArray[np.unsignedinteger] | None:
    """Return the counts of all clients, (clients, classes), in a small dtype; None without ``.npz``.

    Raises
    ------
    UserError
        As `read_table`.
    """
    file = path.with_suffix(".npz")
    if (arrays := _read_all(file, ("offsets", "classes", "counts"))) is None:
        return None
    offsets, classes, counts = arrays["offsets"], arrays["classes"], arrays["counts"]
    try:
        table = np.zeros((len(offsets) - 1, num_classes), dtype=counts.dtype)
        table[np.repeat(np.arange(len(table)), np.diff(offsets)), classes] = counts
    except (ValueError, IndexError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}") from None
    return table


def _write_csv(path: Path, header: Sequence[str], rows: object) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)  # type: ignore[arg-type]
    write_atomic(path, table.getvalue().encode())


def _write_all(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]], count: int) -> None:
    if count <= MAX_ROWS:
        path.unlink(missing_ok=True)  # left by a run that was restarted with fewer clients
        return
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_atomic(path, content.getvalue())


def _read_all(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[np.generic]] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except DAMAGED_NPZ as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
