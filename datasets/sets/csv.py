"""``<root>/train.csv``, ``test.csv`` and perhaps ``validation.csv``: a header, and a row per sample."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from common.errors import UserError
from common.reading import comma_list
from datasets.arrays import Arrays
from datasets.conversion import LABELS
from datasets.tables import Encoder, Table, read_table


def load(
    root: Path,
    *,
    label: str = "",
    client: str = "",
    drop: str = "",
    categorical: str = "",
    task: Literal["auto", "classification", "regression"] = "auto",
    classes: str = "",
    delimiter: str = ",",
    test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Arrays:
    """Load tables.

    A column is numeric if all its values in ``train.csv`` are numbers. A missing number (an empty field,
    ``NA``, ``NaN``, ``null``, ``None``, ``?``) is the column's mean over the rows that are trained on. Other
    columns are categories, each one that these rows have an input that is 0 or 1; missing is one of them.
    One that only held-out or test rows have is all zeros.

    Parameters
    ----------
    root : Path
        The folder with the files.
    label : str
        Column of the targets; by default ``label``, ``target``, ``class`` or ``y``, or else the last column
        that is not dropped.
    client : str
        Column with the client of each row; by default there is none.
    drop : str
        Columns to leave out, separated by commas.
    categorical : str
        Numeric columns to treat as categories, separated by commas.
    task : str, default "auto"
        Whether labels are classes or numbers: ``auto`` treats numeric labels as numbers if they are not all
        whole or if the loss is for regression.
    classes : str
        Names of the classes, separated by commas, if a node may not see all of them.
    delimiter : str, default ","
        Character between fields.
    test_fraction : float, default 0
        Share of the training rows that become the test set where there is no ``test.csv``.
    """
    if len(delimiter) != 1 or delimiter in '"\n\r':
        raise UserError(f"dataset.delimiter must be one character, not {delimiter!r}")
    files = {part: root / f"{part}.csv" for part in ("train", "test", "validation")}
    tables = {
        part: read_table(path, delimiter)
        for part, path in files.items()
        if part == "train" or path.exists() or (part == "test" and not test_fraction)
    }
    train = tables["train"]
    left_out = comma_list("dataset.drop", drop)
    for key, column in (("label", label), ("client", client), *(("drop", name) for name in left_out)):
        if column:
            train.check_column(column, f"dataset.{key}")
    if label in left_out:
        raise UserError(f"dataset.label = '{label}' is a column that dataset.drop leaves out: name another")
    kept = [name for name in train.columns if name not in left_out]
    label = label or next((name for name in LABELS if name in kept), kept[-1] if kept else "")
    inputs = [name for name in kept if name not in {label, client}]
    if not inputs:
        raise UserError(f"{train.path} has no column of inputs in addition to '{label}'")
    categories = comma_list("dataset.categorical", categorical)
    for name in categories:
        train.check_column(name, "dataset.categorical")
    if others := [name for name in categories if name not in inputs]:
        raise UserError(
            f"dataset.categorical names '{others[0]}', which is not an input: it is the label, the client, or"
            " left out"
        )
    # Of all rows, so that it does not depend on which are held out whether a column is numeric.
    numbers = {name: train.numbers(name) for name in inputs if name not in categories}
    numeric = {name: values for name, values in numbers.items() if values is not None}
    parts = {}
    for part, table in tables.items():
        for column in (*inputs, label, *([client] if client else [])):
            table.check_column(column, "")
        owners = [np.array(table.filled(client))] if client else []
        parts[part] = (table, _targets(table, label, task), *owners)
    return Arrays(
        parts["train"],
        parts.get("test"),
        parts.get("validation"),
        kind="features",
        test_fraction=test_fraction,
        class_names=comma_list("dataset.classes", classes),
        remarks=[f"the target is '{label}'"],
        fit=partial(Encoder.of, columns=inputs, numeric=numeric),
    )


def _targets(table: Table, label: str, task: str) -> np.ndarray:
    values = table.filled(label)
    numbers = None if task == "classification" else table.numbers(label)
    if numbers is None or np.isnan(numbers).any():
        if task == "regression":
            raise UserError(f"{table.path}: the column '{label}' has values that are not numbers")
        return np.array(values)
    if task == "auto" and np.all(numbers == np.round(numbers)):
        return numbers.astype(np.int64) if np.all(np.abs(numbers) < 2**53) else numbers
    return numbers
