"""Federations whose clients answer a question of the strategy before a round."""

from collections.abc import Sequence

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from clients.base import Client
from clients.local.batches import Batch
from common.records import METRICS, Tensors, to_record
from common.sections import Value
from tests.methods.federation import LossFederation
from tests.methods.quadratics import LR, Federation, Point
from tests.strategies.messages import make_message


class AskingFederation(Federation):
    """A federation whose clients answer what the strategy asks before a round."""

    def round(self, cohort: Sequence[int] | None = None) -> list[float]:
        chosen = range(len(self.clients)) if cohort is None else cohort
        number = self.server_round + 1
        replies = []
        for client_id in self.strategy.prelude_clients(number, chosen):
            config = ConfigRecord({"server-round": number})
            sections, metrics = self.clients[client_id].answer_prelude({"arrays": self.model}, config)
            content = RecordDict({name: to_record(section) for name, section in sections.items()})
            content[METRICS] = MetricRecord(dict(metrics))
            replies.append(Message(content, reply_to=make_message()))
        if replies:
            self.strategy.aggregate_prelude(number, replies)
        return super().round(cohort)

    def controls(self) -> list[float]:
        return [float(client.state["control"]["w"]) for client in self.clients]


def near(*values: float) -> object:
    return pytest.approx(list(values), abs=1e-7)


def check_identical_clients(method: str, **parameters: Value) -> None:
    """Check that nothing is corrected between identical clients."""
    same = AskingFederation(method, [(1.0, 2.0)] * 3, [4] * 3, local=LR, **parameters)
    average = Federation("fedavg", [(1.0, 2.0)] * 3, [4] * 3, local=LR)
    for _ in range(3):
        assert same.round() == pytest.approx(average.round(), abs=1e-12)


def check_batches_of_the_extra_gradient(method: str, num_batches: int, **parameters: Value) -> None:
    """Count the mini-batches; the gradient of the n-th mini-batch is n here."""
    sizes: list[int] = []

    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        sizes.append(len(batch))
        return len(sizes) * params["w"].sum()

    local: dict[str, Value] = {**LR, "local.batch-size": 3}
    federation = LossFederation(method, [loss], [4], lambda: Point([0.0]), [5], local, **parameters)
    config = ConfigRecord({"server-round": 1})
    sections, _ = federation.clients[0].answer_prelude({"arrays": federation.model}, config)
    assert sizes == [3, 2, 3, 2, 3, 2][:num_batches]  # a pass over five samples has two mini-batches
    (section,) = sections.values()
    assert section["w"].tolist() == near((num_batches + 1) / 2)
