"""The columns of ``metrics.csv`` on the training of a round."""

from collections import Counter
from typing import Any

from server.messages.messenger import num_bytes
from server.messages.replies import ReplyCheck
from server.observers import Round
from server.records.client_metrics import summarise_training, weighted_mean


def training_row(current: Round, check: ReplyCheck, cost: Counter[str]) -> dict[str, Any]:
    """Return these columns; `cost` is that of the loss queries before the round."""
    metrics = check.metrics
    return {
        "round": current.number,
        "train_loss": weighted_mean(metrics, "train_loss"),
        "clients": len(metrics),
        "failures": len(check.failures) + cost["failures"],
        "bytes_down": num_bytes(current.messages) + cost["bytes_down"],
        "bytes_up": check.num_bytes + cost["bytes_up"],
        "local_steps": int(sum(values["num-steps"] for values in metrics.values())),
        "num_examples": int(sum(values["num-examples"] for values in metrics.values())),
        "loss_queries": cost["clients"] or None,
        **summarise_training(metrics),
        "samples": int(sum(values.get("num-samples", 0) for values in metrics.values())),
        "learning_rate": next((values.get("learning-rate") for values in metrics.values()), None),
    }
