"""FedDisco (Ye et al., ICML 2023, arXiv:2305.19229, Eq. 5): weights by size and by label discrepancy."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from pydantic import Field

from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg

Discrepancy = Literal["kl", "l1", "l2"]
_ROUNDING = 1e-12  # the divergence of equal frequencies is 0 but for this


class FedDisco(FedAvg):
    """p_i is proportional to max(0, n_i / sum_j n_j - a d_i + b) over the clients of the round.

    d_i is how far the client's class frequencies are from uniform ones. As in the authors' code ``kl`` sums
    to 1 over the round's clients; where no client is left with a weight, n_i decides alone. a = b = 0 is
    FedAvg.
    """

    TRANSIENT = (*FedAvg.TRANSIENT, "_clients", "_weights", "_client")

    a: Annotated[float, Field(ge=0)] = 0.5
    b: Annotated[float, Field(ge=0)] = 0.1
    discrepancy: Discrepancy = "kl"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._clients: Mapping[int, int] = {}
        self._weights: dict[int, float] = {}
        self._client = 0

    def shows_labels(self) -> str:
        """Say that weights are made of labels."""
        return "whose weights depend on them"

    def not_private(self) -> str:
        """Say that weights are made of labels."""
        return "whose weights depend on the clients' labels"

    def setup(self, run: RunFacts) -> None:
        """Take note of who is who."""
        super().setup(run)
        self._clients = run.client_ids

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Weigh the clients of the round."""
        cohort = [self._clients[node] for node in grid.get_node_ids()]
        sizes = self.client_examples[cohort].double()
        base = torch.ones_like(sizes) if self.weighting == "uniform" else sizes
        distances = label_discrepancy(self.label_counts[cohort], self.discrepancy)
        weights = adjusted_weights(base / base.sum(), distances, self.a, self.b)
        self._weights = dict(zip(cohort, weights.tolist(), strict=True))
        return super().configure_train(server_round, arrays, config, grid)

    def before_reply(self, reply: Message) -> None:
        """Look up whose reply it is."""
        self._client = self._clients[reply.metadata.src_node_id]

    def client_weight(self, metrics: MetricRecord) -> float:
        """Return p_i before it is normalised."""
        return self._weights[self._client]


def label_discrepancy(counts: torch.Tensor, kind: Discrepancy) -> torch.Tensor:
    """Return d_i, float64 of shape (clients,), from class counts, (clients, classes)."""
    frequencies = counts.double() / counts.sum(dim=1, keepdim=True).clamp(min=1)
    if kind != "kl":
        differences = frequencies - 1 / counts.shape[1]
        return differences.abs().sum(dim=1) if kind == "l1" else differences.pow(2).sum(dim=1).sqrt()
    divergences = torch.special.xlogy(frequencies, frequencies * counts.shape[1]).sum(dim=1)
    divergences = torch.where(divergences > _ROUNDING, divergences, 0.0)
    return divergences / divergences.sum() if divergences.sum() > 0 else divergences


def adjusted_weights(weights: torch.Tensor, distances: torch.Tensor, a: float, b: float) -> torch.Tensor:
    """Return max(0, weights - a distances + b), normalised; `weights` if that leaves nobody."""
    adjusted = (weights - a * distances + b).clamp(min=0)
    return adjusted / adjusted.sum() if adjusted.sum() > 0 else weights
