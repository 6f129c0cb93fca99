"""A product of a head and a body, for the methods whose clients keep a part of the model; in float64."""

import pytest
import torch
from torch import nn

from clients.base import Client
from clients.local.batches import Batch
from common.records import Tensors
from tests.methods.federation import Loss, LossFederation
from tests.methods.quadratics import LR, close


class Product(nn.Module):
    """a * b * x: the head a on the body b."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ParameterDict({"b": nn.Parameter(torch.tensor(1.0, dtype=torch.float64))})
        self.classifier = nn.ParameterDict({"a": nn.Parameter(torch.tensor(0.5, dtype=torch.float64))})


def target(y: float) -> Loss:
    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return (params["classifier.a"] * params["body.b"] - y) ** 2 / 2

    return loss


def product_federation(method: str, steps: int, **parameters: float) -> LossFederation:
    return LossFederation(method, [target(2.0), target(-1.0)], [steps] * 2, Product, local=LR, **parameters)


def heads(federation: LossFederation) -> list[float]:
    return [client.state["kept-entries"]["classifier.a"].item() for client in federation.clients]


def bodies(federation: LossFederation) -> list[float]:
    return [federation.replies[client_id]["body.b"].item() for client_id in (0, 1)]


def check_head_then_body(method: str) -> None:
    """Check two head steps and then one body step."""
    federation = product_federation(method, 3, personal_share=2 / 3)
    model = federation.run_round()
    assert heads(federation) == close(0.785, 0.215)
    assert bodies(federation) == close(1.0953775, 0.9738775)
    assert list(model) == ["body.b"]
    assert model["body.b"].item() == pytest.approx(1.0346275, abs=1e-9)
    federation.run_round()
    assert heads(federation) != close(0.785, 0.215)  # it resumes from its own head


def check_head_and_body_together(method: str) -> None:
    """Check one step of both."""
    federation = product_federation(method, 1)
    model = federation.run_round()
    assert heads(federation) == close(0.65, 0.35)
    assert bodies(federation) == close(1.075, 0.925)
    assert model["body.b"].item() == pytest.approx(1.0, abs=1e-12)
