"""The results in a round's row, and which round is best."""

from collections.abc import Mapping, Sequence
from typing import Any

_SPLITS = ("test", "validation", "personal")
_EVALUATED = ("test_", "validation_", "federated_", "personal_")


def results_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that say how good the model is."""
    return {
        key: value
        for key, value in row.items()
        if key.startswith(_EVALUATED) or "_loss" in key or "_accuracy" in key
    }


def is_evaluated(row: Mapping[str, Any]) -> bool:
    """Return whether the global model was evaluated in the round, or the clients' own if there is none."""
    return _split(row) is not None


def _split(row: Mapping[str, Any], splits: Sequence[str] = _SPLITS) -> str | None:
    """Return the data by which a round is judged: the first of the evaluated splits."""
    return next((split for split in splits if f"{split}_loss" in row), None)


def judged_columns(row: Mapping[str, Any], splits: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a round that `is_better` compares."""
    names = [f"{_split(row, splits)}_{measure}" for measure in ("accuracy", "loss")]
    return {name: row[name] for name in names if name in row}


def is_better(row: Mapping[str, Any], best: Mapping[str, Any], splits: Sequence[str] = _SPLITS) -> bool:
    """Return whether a round beats the best so far: by accuracy, or by loss if there is no accuracy.

    It is judged on the test set, or on validation data if the test set is not evaluated, unless `splits` has
    another order.
    """
    split = _split(row, splits)
    accuracy, loss = f"{split}_accuracy", f"{split}_loss"
    if accuracy in row:
        return bool(row[accuracy] > best.get(accuracy, -1.0))
    return bool(row[loss] < best.get(loss, float("inf")))
