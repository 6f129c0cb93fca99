"""FedLoGe's personal predictions and their evaluation."""

from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord
from torch import Tensor, nn

from clients.fedloge import FedLoGe
from clients.local.worker import Worker
from common.records import ARRAYS, Payload, Tensors
from models.classifier import Classifier
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import equal, global_model, small
from tests.methods.federation import LossWorker
from tests.methods.fedloge import same

pytestmark = pytest.mark.usefixtures("few_head_steps")


def test_evaluation_changes_nothing_and_a_new_client_can_predict() -> None:
    worker = Worker(small())
    server = FedLoGeServer()
    model = server.initial_model({name: v.clone() for name, v in worker.model_state.items()}, 0)
    received = {ARRAYS: model, "head": server.global_head}
    before = {section: {k: v.clone() for k, v in values.items()} for section, values in received.items()}
    client = FedLoGe(worker, 3)
    first, second = (client.test(received, ConfigRecord({"server-round": 1})) for _ in range(2))
    assert first == second
    assert all(same(before[section], received[section]) for section in before)
    assert {"personal_accuracy", "personal_unaligned_accuracy", "accuracy"} <= set(first)


ROUND = ConfigRecord({"server-round": 1})


class Twice(Classifier):
    """h = 2 x, then the head."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 3)

    def features(self, x: Tensor) -> Tensor:
        return 2 * x


def head(weight: list[list[float]], bias: list[float]) -> Tensors:
    return {
        "weight": torch.tensor(weight, dtype=torch.float64),
        "bias": torch.tensor(bias, dtype=torch.float64),
    }


PSI = head([[3, 4], [0, 2], [1, 0]], [0.1, 0, -0.1])

PHI = head([[0.6, 0.8], [0, 3], [0.3, 0.4]], [0.2, -0.2, 0])

LOG = (7.1 + 1.6, 2.0 + 2.8, 0.9 + 0.7)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (8.7, 8.8, 1.1)),
        ({"inference": "code"}, (8.7, 8.8, 1.1)),
        ({"inference": "code", "paper_bias": "local"}, (8.7, 8.8, 1.1)),
        ({"inference": "readme"}, (14.3, 7.8, 1.4)),
        ({"inference": "readme", "paper_bias": "local"}, (14.3, 7.8, 1.4)),
        ({"inference": "paper"}, (7.1, 6.0, 0.4)),
        ({"inference": "paper", "paper_bias": "local"}, (7.2, 5.8, 0.5)),
        ({"inference": "log"}, LOG),
        ({"inference": "log", "paper_bias": "local"}, LOG),
    ],
)
def test_predictions_of_given_heads(parameters: dict[str, Any], expected: tuple[float, ...]) -> None:
    client = FedLoGe(LossWorker(small(), [1], Twice().double()), 0, {"local-head": PHI}, parameters)
    client.received = {"head": PSI}
    inputs = torch.tensor([[0.5, 0.5]], dtype=torch.float64)  # features (1, 1)
    predictors = client.personal_predictors()
    assert set(predictors) == {"", "unaligned"}
    for predictor, logits in (
        (client.personal_predictor(), expected),
        (predictors[""], expected),
        (predictors["unaligned"], LOG),
    ):
        torch.testing.assert_close(predictor(inputs), torch.tensor([logits], dtype=torch.float64))


def copies(sections: Payload) -> Payload:
    return {
        name: {key: value.clone() for key, value in section.items()} for name, section in sections.items()
    }


@pytest.mark.parametrize("inference", ["code", "readme", "paper", "log"])
def test_evaluation_with_batch_norm_writes_to_nothing(batch_norm_model: str, inference: str) -> None:
    config = small(model__name=batch_norm_model, evaluate__batch_size=100)
    worker, server = Worker(config), FedLoGeServer(head_steps=5)
    received = {ARRAYS: server.initial_model(global_model(config), 0), "head": server.global_head}
    client = FedLoGe(worker, 0, None, {"inference": inference})
    client.state = client.init_state()
    sent, kept = copies(received), copies(client.state)
    worker.model.train()
    first = client.test(received, ROUND)
    after = {name: value.clone() for name, value in worker.model_state.items()}
    assert equal({name: after[name] for name in sent[ARRAYS]}, sent[ARRAYS])  # running statistics, too
    assert client.test(received, ROUND) == first
    assert equal(worker.model_state, after)
    for before, now in ((sent, received), (kept, client.state)):
        assert all(equal(before[name], now[name]) for name in before)
    # Whoever else is in a batch has no say.
    singly = Worker(small(model__name=batch_norm_model, evaluate__batch_size=7))
    of_sevens = FedLoGe(singly, 0, copies(kept), {"inference": inference}).test(received, ROUND)
    for name in ("personal_loss", "personal_unaligned_loss", "loss"):
        assert of_sevens[name] == pytest.approx(first[name], rel=1e-5)
