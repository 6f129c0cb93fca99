"""Shared by methods whose clients correct every gradient with control variates."""

from collections.abc import Iterator

from common.config import Config


def momentum_advice(config: Config) -> Iterator[str]:
    """Advise against momentum, which amplifies every correction by 1 / (1 - momentum)."""
    optimizer = config.optimizer
    momentum = float(optimizer.parameters.get("momentum", 0.0)) if optimizer.name == "sgd" else 0.0
    if momentum > 0:
        yield (
            f"With optimizer.momentum = {momentum:g} every correction of '{config.method.name}' is repeated"
            f" {1 / (1 - momentum):.3g} times: set optimizer.momentum = 0, as in the paper, or lower"
            " optimizer.learning-rate by that factor."
        )
