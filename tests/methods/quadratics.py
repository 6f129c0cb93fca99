"""Clients with the loss Q(h, b) = (h / 2) (w - b)^2 in float64."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import nn

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from common.sections import Value
from tests.methods.federation import Loss, LossFederation


class Point(nn.Module):
    def __init__(self, start: Sequence[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))


def quadratic(h: float, b: float | Sequence[float]) -> Loss:
    """Return the loss Q(h, b); b may be a vector."""
    target = torch.tensor(b, dtype=torch.float64)

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return (h / 2 * (params["w"] - target) ** 2).sum()

    return loss


class Federation(LossFederation):
    """A federation of quadratics (h, b)."""

    def __init__(
        self,
        method: str,
        quadratics: Sequence[tuple[float, float | Sequence[float]]],
        steps: Sequence[int],
        start: Sequence[float] = (0.0,),
        counts: Sequence[int] | None = None,
        local: Mapping[str, Value] | None = None,
        **parameters: Value,
    ) -> None:
        losses = [quadratic(h, b) for h, b in quadratics]
        super().__init__(method, losses, steps, lambda: Point(start), counts, local, **parameters)

    @property
    def w(self) -> torch.Tensor:
        """The global w."""
        return self.model["w"]

    def round(
        self, cohort: Sequence[int] | None = None, corrections: Mapping[int, float] | None = None
    ) -> list[float]:
        """Run one round and return the global w."""
        result: list[float] = self.run_round(cohort, corrections)["w"].tolist()
        return result


LR: dict[str, Value] = {"optimizer.learning-rate": 0.1}


def close(*values: float) -> object:
    """Return what equals a list of these values to nine decimals."""
    return pytest.approx(list(values), abs=1e-9)
