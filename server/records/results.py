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
    return "test_loss" in row


def is_better(row: Mapping[str, Any], best: Mapping[str, Any]) -> bool:
    """Return whether a round beats the best so far: by accuracy, or where there is none by loss."""
    if "test_accuracy" in row:
        return bool(row["test_accuracy"] > best.get("test_accuracy", -1.0))
    return bool(row["test_loss"] < best.get("test_loss", float("inf")))
