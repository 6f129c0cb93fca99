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


def seen(losses: Mapping[int, float]) -> dict[int, Feedback]:
    """Return what a round shows of clients with these losses."""
    return {client: Feedback({"train_loss": loss}) for client, loss in losses.items()}


def changes(vectors: Mapping[int, Sequence[float]]) -> dict[int, Feedback]:
    return {
        client: Feedback({"train_loss": 1.0}, change=np.array(vector), norm=float(np.linalg.norm(vector)))
        for client, vector in vectors.items()
    }
