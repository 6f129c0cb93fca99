"""Checks what an observer of the key ``observers``, or a strategy, changes: it adds columns of numbers."""

import zlib
from collections.abc import Callable, Container
from numbers import Real

from common.errors import UserError, shown
from common.returned import COLUMN
from server.observers._observer import Round
from server.records.run_directory import METRICS_COLUMNS


def leaving_the_model(name: str, call: Callable[[Round], None]) -> Callable[[Round], None]:
    """Return a hook of an observer that is refused if it writes into the global model."""

    def checked(current: Round) -> None:
        model = dict(current.arrays)
        before = {key: zlib.crc32(array.data) for key, array in model.items()}
        call(current)
        if written := next(
            (key for key, array in model.items() if zlib.crc32(array.data) != before[key]), ""
        ):
            raise UserError(
                f"observers: '{name}' has written into '{written}' of the global model, which an observer"
                " cannot change: make a new tensor, or a copy with clone()"
            )

    return checked


def adding_columns(name: str, call: Callable[[Round], None], current: Round) -> None:
    """Call a hook of an observer and check its changes to the row.

    Raises
    ------
    UserError
        If it changed an existing column, or added one that is not a number or has an invalid name.
    """
    before = dict(current.row)
    call(current)
    if lost := [key for key in before if key not in current.row]:
        raise UserError(
            f"observers: '{name}' removes the column '{lost[0]}' of the row, which is not its own"
        )
    for key, value in current.row.items():
        if key in before and before[key] is value:
            continue
        check_column(key, value, before, f"observers: '{name}'")


def check_column(key: object, value: object, row: Container[str], who: str) -> None:
    """Refuse a column that a row has already, or that has no number or an invalid name.

    Raises
    ------
    UserError
        One line that starts with `who`.
    """
    what = f"{who} sets the column {shown(key)}"
    if not isinstance(key, str) or not COLUMN.fullmatch(key):
        raise UserError(f"{what}: a name begins with a letter and has letters, digits and _ . - only")
    if key in row or key in METRICS_COLUMNS:
        raise UserError(f"{what}, which is there already: choose another name")
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
        raise UserError(f"{what} to {shown(value)}: it must be a number, as float(...) makes one")
