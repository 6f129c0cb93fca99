"""What holds for every method whose clients correct each of their gradients by control variates."""

from collections.abc import Iterator

from common.config import Config


def momentum_advice(config: Config) -> Iterator[str]:
    """Advise against momentum, which adds every correction 1 / (1 - momentum) times."""
    optimizer = config.optimizer
    momentum = float(optimizer.parameters.get("momentum", 0.0)) if optimizer.name == "sgd" else 0.0
    if momentum > 0:
        yield (
            f"With optimizer.momentum = {momentum:g} every correction of '{config.method.name}' is repeated"
            f" {1 / (1 - momentum):.3g} times: set optimizer.momentum = 0, as in the paper, or lower"
            " optimizer.learning-rate by that factor."
        )
