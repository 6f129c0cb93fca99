"""The part of a round's row that the progress output shows."""

from collections.abc import Mapping

from common.number_text import fixed

TRAINED = {"train_loss": "train loss"}
EVALUATED = {
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "test_mae": "test MAE",
    "test_r2": "test R2",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy",
    "personal_accuracy_macro": "personal accuracy",
}


def has_evaluation(row: Mapping[str, float]) -> bool:
    """Return whether a row has an evaluation to show."""
    return any(row.get(key) is not None for key in EVALUATED)


def describe(row: Mapping[str, float], labels: Mapping[str, str] = TRAINED | EVALUATED) -> str:
    """Return the labelled metrics that the round has, in one line."""
    known = {label: row[key] for key, label in labels.items() if row.get(key) is not None}
    return "  ".join(f"{label} {fixed(value, 4)}" for label, value in known.items())
