"""What of a round's row is a result, and which round's is the best."""

from collections.abc import Mapping
from typing import Any

_EVALUATED = ("test_", "validation_", "federated_", "personal_")


def results_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a row that say how good the model is."""
    return {
        key: value
        for key, value in row.items()
        if key.startswith(_EVALUATED) or "_loss" in key or "_accuracy" in key
    }


def is_evaluated(row: Mapping[str, Any]) -> bool:
    """Return whether the global model was evaluated in the round."""
    return _split(row) is not None


def _split(row: Mapping[str, Any]) -> str | None:
    """Return by which data a round is judged: the test set's, or validation data where it is kept out."""
    return next((split for split in ("test", "validation") if f"{split}_loss" in row), None)


def is_better(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Return whether a round beats the best so far: by accuracy, or where there is none by loss."""
    accuracy, loss = f"{_split(row)}_accuracy", f"{_split(row)}_loss"
    if accuracy in row:
        return bool(row[accuracy] > best.get(accuracy, -1.0))
    return bool(row[loss] < best.get(loss, float("inf")))
