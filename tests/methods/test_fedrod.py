"""FedRoD: its two heads, and the class-wise mean of heads."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message
from safetensors.torch import load_file
from torch.nn import functional as F

from clients.balanced_softmax import BalancedSoftmax
from clients.fedrod import FedRoD
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.records import to_payload, to_tensors
from runtimes.sequential import SequentialGrid
from strategies._class_wise import class_wise_mean, scaled_rows
from strategies.fedrod import FedRoD as FedRoDServer
from tests.clients.jobs import equal, global_model, small, train
from tests.conftest import Runner
from tests.strategies.messages import make_reply

ROUND = ConfigRecord({"server-round": 1})
LINEAR = {"model__name": "linear", "partition__alpha": 0.2}


class TestFedRoD:
    def client(self, **keys: Any) -> FedRoD:
        worker = Worker(small(**LINEAR, local__steps=1, **keys))
        client = FedRoD(worker, 0)
        client._receive({"arrays": global_model(worker.config)}, ROUND)
        client.begin_round()
        return client

    def test_no_loss_has_a_gradient_in_the_others_parameters(self) -> None:
        client = self.client()
        worker = client.worker
        inputs, targets = torch.randn(4, 1, 8, 8), client.label_counts().argmax().repeat(4)
        client.loss(client.params, Batch(inputs, targets, torch.arange(4))).backward()  # type: ignore[no-untyped-call]
        z, head = inputs.flatten(1), worker.model.classifier
        shifted = head(z).detach() + client.shift
        balanced = (shifted.softmax(1) - F.one_hot(targets, 10)).T @ z / 4
        torch.testing.assert_close(head.weight.grad, balanced)
        residual = (head(z).detach().softmax(1) - F.one_hot(targets, 10)).T @ z / 4
        torch.testing.assert_close(client.head["weight"].grad, residual)

    def test_the_global_model_is_that_of_balanced_softmax(self) -> None:
        config = small(partition__alpha=0.2, optimizer__momentum=0.5)  # a model with a body
        start = global_model(config)
        rod = train(Worker(config), 0, start, client_class=FedRoD)
        assert equal(rod.model, train(Worker(config), 0, start, client_class=BalancedSoftmax).model)
        assert set(rod.sections) == {"arrays"}
        assert rod.state["personal-head"]["weight"].abs().sum() > 0

    def test_a_client_that_has_never_trained_predicts_as_the_generic_model(self) -> None:
        worker = Worker(small(**LINEAR))  # type: ignore[arg-type]
        metrics = FedRoD(worker, 0).test({"arrays": global_model(worker.config)}, ROUND)
        assert metrics["personal_accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-6)
        assert metrics["personal_loss"] == pytest.approx(metrics["loss"], rel=1e-5)

    def test_the_personal_head_goes_on_where_it_was(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)
        first = train(Worker(config), 0, start, client_class=FedRoD)
        kept = first.state["personal-head"]["weight"].clone()
        second = train(Worker(config), 0, start, 2, first.state, client_class=FedRoD)
        assert not torch.equal(second.state["personal-head"]["weight"], kept)
        assert torch.equal(first.state["personal-head"]["weight"], kept)


def test_class_wise_weights() -> None:
    rows = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]])]
    counts = [torch.tensor([20, 10]), torch.tensor([0, 10])]
    weights = torch.tensor([30.0, 10.0]) / 40
    scaled = sum(
        w * scaled_rows({"classifier.weight": r}, c)["classifier.weight"]
        for w, r, c in zip(weights, rows, counts, strict=True)
    )
    mean_counts = sum(w * c for w, c in zip(weights, counts, strict=True))
    fallback = {"classifier.weight": torch.full((2, 1), 9.0, dtype=torch.float64)}
    result = class_wise_mean({"classifier.weight": scaled}, mean_counts, fallback)["classifier.weight"]
    assert result.flatten().tolist() == pytest.approx([1.0, 0.75 * 2 + 0.25 * 6])  # weights 1, 0; 0.75, 0.25
    none = class_wise_mean({"classifier.weight": scaled * 0}, mean_counts * 0, fallback)
    assert none["classifier.weight"].flatten().tolist() == [9.0, 9.0]


def test_rows_of_classes_that_no_client_has_are_averaged_as_the_body_is() -> None:
    strategy = FedRoDServer(head_aggregation="class-wise")
    replies = [
        make_reply(
            {"fc.weight": [value], "classifier.weight": 2 * [[value]], "classifier.bias": 2 * [value]},
            size,
            {"class-counts": {"counts": [size, 0.0]}},
        )
        for size, value in ((30, 1.0), (10, 5.0))
    ]
    arrays, _ = strategy.aggregate_train(1, replies)
    assert arrays is not None
    model = to_tensors(arrays)
    of_present = (30 * 30 * 1.0 + 10 * 10 * 5.0) / (30 * 30 + 10 * 10)
    assert model["fc.weight"].tolist() == [2.0]
    assert model["classifier.weight"].flatten().tolist() == pytest.approx([of_present, 2.0])
    assert model["classifier.bias"].tolist() == pytest.approx([of_present, 2.0])


def test_fedrods_personal_head_follows_the_rate_of_each_step() -> None:
    """A warm-up begins at a rate of 0: in one step nothing moves, in two the head does."""
    moved = []
    for steps in (1, 2):
        config = small(local__steps=steps, schedule__warmup_steps=9)
        client = FedRoD(Worker(config), 0)
        client.train({"arrays": global_model(config)}, ConfigRecord({"server-round": 1}))
        moved.append(bool(client.state["personal-head"]["weight"].any()))
    assert moved == [False, True]


def test_fedrod_with_a_class_wise_head(run_small: Runner) -> None:
    """A run in which rows of the head weigh clients by their class counts, against the replies themselves."""
    replies: list[Any] = []

    class Watching(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for reply in super().exchange(messages):
                if "class-counts" in reply.content.array_records:
                    replies.append(to_payload(reply.content))
                yield reply

    options = {"method__name": "fedrod", "model__name": "linear", "rounds": 2, "checkpoint__every": 1}
    run = run_small("run", Watching, method__head_aggregation="class-wise", **options)
    final = load_file(run / "model.safetensors")
    counts = torch.stack([reply["class-counts"]["counts"] for reply in replies[-3:]])
    weights = counts * counts.sum(1, keepdim=True)
    weights = weights / weights.sum(0)
    rows = torch.stack([reply["arrays"]["classifier.weight"].double() for reply in replies[-3:]])
    expected = (weights[:, :, None] * rows).sum(0).float()
    held = counts.sum(0) > 0
    torch.testing.assert_close(final["classifier.weight"][held], expected[held])
    with pytest.raises(UserError, match="privacy"):
        run_small("private", method__head_aggregation="class-wise", privacy__clipping="fixed", **options)
