"""Closed-form numbers of FedLoGe: local training, and aggregation of the model and the global head."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clients.fedloge import FedLoGe
from clients.local.batches import Batch
from common.flower import assume_task_identity
from common.records import ARRAYS, Tensors, to_tensors
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import small
from tests.methods.federation import LossWorker
from tests.methods.fedloge import TwoLayers, close, federation, reply, tensor

pytestmark = pytest.mark.usefixtures("few_head_steps")


def test_two_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    terms: list[float] = []
    cross_entropy = functional.cross_entropy

    def noted(*arguments: Any, **keywords: Any) -> Tensor:
        terms.append(cross_entropy(*arguments, **keywords).item())
        return cross_entropy(*arguments, **keywords)

    monkeypatch.setattr(functional, "cross_entropy", noted)
    config = small(optimizer__learning_rate=0.1, optimizer__momentum=0.5)
    client = FedLoGe(LossWorker(config, [1], TwoLayers().double()), 0)
    psi = {"weight": tensor((0.2, -0.1), (0, 0.3)), "bias": tensor(0, 0)}
    phi = {"weight": tensor((0, 0), (0, 0)), "bias": tensor(0, 0)}
    client.received, client.state = {"head": psi}, {"local-head": phi}
    client.begin_round()
    trained = [value for name, value in client.params.items() if name in client.trained_names()]
    optimizer = torch.optim.SGD(trained, lr=0.1, momentum=0.5)

    def step(inputs: Tensor, targets: Sequence[int]) -> float:
        optimizer.zero_grad()
        loss = client.loss(client.params, Batch(inputs, torch.tensor(targets), torch.arange(len(targets))))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        client.after_step(client.params)
        assert client.logits is not None  # the model's own, of which ``train_accuracy`` is
        terms.insert(0, cross_entropy(client.logits, torch.tensor(targets)).item())
        assert terms.pop(0) == pytest.approx(terms[-3])
        return loss.item()

    assert step(tensor((1, 2)), [0]) == pytest.approx(0.744397 + 1.037488 + 0.693147, abs=1e-6)
    assert terms == pytest.approx([0.744397, 1.037488, 0.693147], abs=1e-6)  # backbone, psi, phi
    close(client.params["body.weight"].detach(), (1.00525, 0.0105), (-0.00525, 0.9895))
    heads = [{name: value.detach() for name, value in head.items()} for head in client._heads]
    close(heads[0]["weight"], (0.264566, 0.029131), (-0.064566, 0.170869))
    close(heads[0]["bias"], 0.064566, -0.064566)
    close(heads[1]["weight"], (0.05, 0.1), (-0.05, -0.1))
    close(heads[1]["bias"], 0.05, -0.05)
    assert step(tensor((2, 0), (0, 1)), [0, 1]) == pytest.approx(0.621294 + 0.531403 + 0.704277, abs=1e-6)
    assert terms[3:] == pytest.approx([0.621294, 0.531403, 0.704277], abs=1e-6)
    close(client.params["body.weight"].detach(), (1.012371, 0.013372), (-0.012371, 0.986628))
    sent = client.end_round(client.params)["head"]
    kept = client.state["local-head"]
    close(sent["weight"], (0.327917, 0.068891), (-0.127917, 0.131109))
    close(sent["bias"], 0.087528, -0.087528)
    close(kept["weight"], (0.117504, 0.121369), (-0.117504, -0.121369))
    close(kept["bias"], 0.067581, -0.067581)
    close(client.params["classifier.weight"].detach(), (0.1, 0), (0, 0.1))
    assert psi["weight"][1, 1] == 0.3  # what was received stays as it was
    assert not phi["weight"].any()


def aggregate(replies: Sequence[tuple[int, float, float, int]]) -> tuple[Tensors, Tensors]:
    """Aggregate clients of one number each: (examples, weight, running mean, counter)."""
    assume_task_identity()
    server = FedLoGeServer()
    model = server.initial_model(
        {"classifier.weight": torch.eye(3, 4), "classifier.bias": torch.zeros(3)}, seed=0
    )
    messages = [
        reply(
            index,
            num_examples,
            {
                ARRAYS: {
                    **model,
                    "body.weight": torch.tensor(weight),
                    "norm.running_mean": torch.tensor(mean),
                    "norm.num_batches_tracked": torch.tensor(counter),
                },
                "head": {"weight": torch.full((3, 4), weight), "bias": torch.full((3,), weight)},
            },
        )
        for index, (num_examples, weight, mean, counter) in enumerate(replies)
    ]
    arrays, _ = server.aggregate_train(1, messages)
    assert arrays is not None
    return to_tensors(arrays), server.global_head


THREE = [(30, 1.0, 0.1, 20), (10, 2.0, 0.5, 10), (60, 4.0, 0.2, 40)]


def test_aggregation_with_the_clients_own_weights() -> None:
    model, head = aggregate(THREE)
    assert model["body.weight"].item() == pytest.approx(2.9)
    assert model["norm.running_mean"].item() == pytest.approx(0.2)
    assert model["norm.num_batches_tracked"].item() == 31
    assert not any(name.startswith("classifier") for name in model)  # it stays as it was
    torch.testing.assert_close(head["weight"], torch.full((3, 4), 2.9))


def test_order_copies_and_scale_of_the_weights_do_not_matter() -> None:
    expected = aggregate(THREE)
    others = (
        THREE[::-1],
        [client for client in THREE for _ in range(2)],
        [(7 * examples, *rest) for examples, *rest in THREE],
    )
    for replies in others:
        torch.testing.assert_close(aggregate(replies), expected)  # type: ignore[arg-type]
    (only,) = (aggregate(THREE[1:2]),)
    assert only[0]["body.weight"] == 2.0
    assert torch.equal(only[1]["weight"], torch.full((3, 4), 2.0))


def test_psi_class_by_class() -> None:
    """n = (30, 10), counts (20, 10, 0) and (0, 10, 0): weights (1, 0), (3/4, 1/4); nobody has the third."""
    assume_task_identity()
    server = FedLoGeServer(head_aggregation="class-wise")
    model = server.initial_model(
        {"classifier.weight": torch.eye(3, 4), "classifier.bias": torch.zeros(3)}, seed=0
    )
    clients = ((30, 1.0, (20, 10, 0)), (10, 3.0, (0, 10, 0)))
    replies = [
        reply(
            index,
            num_examples,
            {
                ARRAYS: {**model, "body.weight": torch.tensor(value)},
                "head": {"weight": torch.full((3, 4), value), "bias": torch.full((3,), value)},
                "class-counts": {"counts": tensor(*counts)},
            },
        )
        for index, (num_examples, value, counts) in enumerate(clients)
    ]
    arrays, _ = server.aggregate_train(1, replies)
    assert arrays is not None
    assert to_tensors(arrays)["body.weight"].item() == 1.5
    close(server.global_head["bias"].double(), 1, 1.5, 1.5)
    close(server.global_head["weight"][:, 2].double(), 1, 1.5, 1.5)
    assert server.global_head["weight"].dtype == torch.float32


def test_clients_send_their_counts_for_it() -> None:
    _, by_examples, _ = federation()
    _, by_class, _ = federation(method__head_aggregation="class-wise")
    assert not torch.equal(by_examples["weight"], by_class["weight"])
