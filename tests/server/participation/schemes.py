"""Participation schemes of small runs, and what they are shown."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from common.errors import UserError
from common.sections import Value
from server.participation import Participation
from server.participation._scheme import Feedback
from tests.common.configs import make_config


def participation(name: str, count: int = 100, seed: int = 0, **parameters: Value) -> Participation:
    spelled = {f"participation.{key.replace('_', '-')}": value for key, value in parameters.items()}
    return Participation(
        make_config(
            {"participation.name": name, "clients.count": count, "clients.fraction": 0.1, "seed": seed},
            spelled,
        )
    )


def message_of(name: str, count: int = 100, **parameters: Value) -> str:
    with pytest.raises(UserError) as raised:
        participation(name, count, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


class Losses:
    """Clients that report the losses they are given, and remember who was asked."""

    def __init__(self, losses: Mapping[int, float]) -> None:
        self.losses = losses
        self.asked: list[tuple[list[int], bool]] = []

    def __call__(self, clients: Sequence[int], one_batch: bool) -> Mapping[int, float]:
        self.asked.append((list(clients), one_batch))
        return {client: self.losses[client] for client in clients if client in self.losses}


def seen(losses: Mapping[int, float]) -> dict[int, Feedback]:
    """Return what a round shows of clients with these losses."""
    return {client: Feedback({"train_loss": loss}) for client, loss in losses.items()}


def changes(vectors: Mapping[int, Sequence[float]]) -> dict[int, Feedback]:
    return {
        client: Feedback({"train_loss": 1.0}, change=np.array(vector), norm=float(np.linalg.norm(vector)))
        for client, vector in vectors.items()
    }
