"""Closed-form numbers and relations of FedLoGe."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from torch import Tensor, nn
from torch.nn import functional

from clients.app import app
from clients.fedloge import FedLoGe
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.flower import assume_task_identity
from common.records import ARRAYS, CONFIG, METRICS, Payload, Tensors, to_payload, to_record, to_tensors
from models.classifier import Classifier
from models.heads.realignment import head_of_model
from runtimes.sequential import SequentialGrid
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import equal, global_model, small
from tests.methods.federation import LossWorker


class TwoLayers(Classifier):
    """h = V x without bias, then the head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2, bias=False)
        self.classifier = nn.Linear(2, 2)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(2))
            self.classifier.weight.copy_(0.1 * torch.eye(2))
            self.classifier.bias.zero_()

    def features(self, x: Tensor) -> Tensor:
        features: Tensor = self.body(x)
        return features


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor, *expected: Any) -> None:
    torch.testing.assert_close(actual, tensor(*expected), atol=1e-6, rtol=0)


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


def reply(client_id: int, num_examples: int, sections: Payload) -> Message:
    content = RecordDict({name: to_record(section) for name, section in sections.items()})
    content[METRICS] = MetricRecord({"num-examples": num_examples})
    return Message(content, dst_node_id=client_id + 2, message_type="train")


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


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FedLoGeServer, "head_steps", 20)


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


@pytest.mark.parametrize(
    ("head", "mask", "expected"),
    [
        ("weight-dropout-etf", [[0.0, 0], [0, 1]], 0.798139),  # logits 0, 0.2: ln(1 + e^0.2)
        ("feature-dropout-etf", [[1.0, 0], [0, 0]], 0.644397),  # logits 0.1, 0: ln(1 + e^-0.1)
    ],
)
def test_dropout_of_the_frame_is_seen_by_the_backbone_alone(
    head: str, mask: list[list[float]], expected: float
) -> None:
    """The batch of ``test_two_batches``: features (1, 2), head 0.1 I; the other losses are those there."""
    client = FedLoGe(LossWorker(small(), [1], TwoLayers().double()), 0, None, {"head": head})
    psi = {"weight": tensor((0.2, -0.1), (0, 0.3)), "bias": tensor(0, 0)}
    phi = {"weight": tensor((0, 0), (0, 0)), "bias": tensor(0, 0)}
    client.received, client.state, client.server_round = {"head": psi}, {"local-head": phi}, 1
    client.begin_round()
    client._mask = tensor(*mask)
    batch = Batch(tensor((1, 2)), torch.tensor([0]), torch.arange(1))
    assert client.loss(client.params, batch).item() == pytest.approx(expected + 1.037488 + 0.693147, abs=2e-6)


@pytest.mark.parametrize("head", ["weight-dropout-etf", "feature-dropout-etf"])
def test_dropout_of_the_frame_in_rounds(head: str) -> None:
    """All clients of a round have its mask, of half of the entries; what is evaluated is the whole frame."""
    masks = []
    for client_id, server_round in ((0, 1), (1, 1), (0, 2)):
        client = FedLoGe(Worker(small()), client_id, None, {"head": head})
        client.received = {"head": head_of_model(client.worker.state)}
        client.server_round = server_round
        masks.append(client._draw_mask())
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert set(masks[0].unique().tolist()) == {0.0, 1.0}
    assert masks[0].mean().item() == pytest.approx(0.5, abs=0.1)
    start = FedLoGeServer(head=head).initial_model(Worker(small()).state, 0)
    model, _, _ = federation(method__head=head)
    assert torch.equal(model["classifier.weight"], start["classifier.weight"])
    assert (start["classifier.weight"] != 0).all()
    dense, _, _ = federation(method__head="dense-etf")
    assert torch.equal(dense["classifier.weight"], model["classifier.weight"])
    assert not torch.equal(dense["fc1.weight"], model["fc1.weight"])


def federation(rounds: int = 1, clients: Sequence[int] = (0, 1), **keys: Any) -> tuple[Tensors, Tensors, Any]:
    """Run rounds of clients on digits; return the model, psi and the local heads."""
    method = {name.removeprefix("method__"): keys.pop(name) for name in list(keys) if "method__" in name}
    shift = keys.pop("shift", {})
    config = small(**{"optimizer__momentum": 0.5, **keys})
    worker = Worker(config)
    assume_task_identity()
    server = FedLoGeServer(**{k: v for k, v in method.items() if hasattr(FedLoGeServer, k)})
    model = server.initial_model({name: v.clone() for name, v in worker.state.items()}, config.seed)
    states: dict[int, Payload] = {}
    for server_round in range(1, rounds + 1):
        messages = []
        for client_id in clients:
            of_client = {k: v for k, v in method.items() if hasattr(FedLoGe, k)}
            client = FedLoGe(worker, client_id, states.get(client_id), of_client)
            if client_id in shift:
                client.state = client.init_state()
                client.state["local-head"]["weight"] += shift[client_id]
            received = {ARRAYS: model, **server.broadcast(server_round)}
            sections, metrics = client.train(received, ConfigRecord({"server-round": server_round}))
            states[client_id] = client.state
            messages.append(reply(client_id, int(metrics["num-examples"]), sections))
        arrays, _ = server.aggregate_train(server_round, messages)
        assert arrays is not None
        model = {**model, **to_tensors(arrays)}
    return model, server.global_head, {k: state["local-head"] for k, state in states.items()}


def same(first: Tensors, second: Tensors) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_fixed_head_is_the_same_to_the_last_bit_after_any_number_of_rounds() -> None:
    start = FedLoGeServer().initial_model(Worker(small()).state, 0)
    model, _, _ = federation(rounds=2, optimizer__weight_decay=0.01)
    assert torch.equal(model["classifier.weight"], start["classifier.weight"])
    assert int((model["classifier.weight"] == 0).sum()) == int(0.6 * 64 * 10)
    assert not model["classifier.bias"].any()
    assert not torch.equal(model["fc1.weight"], start["fc1.weight"])


def test_a_random_bias_of_the_fixed_head_is_that_of_a_linear_layer_and_stays() -> None:
    config = small(optimizer__weight_decay=0.01)
    start = FedLoGeServer(head_bias="linear-default").initial_model(Worker(config).state, 0)
    bias = start["classifier.bias"]
    assert 0.5 / 8 < bias.abs().max() <= 1 / 8  # 64 features
    assert (bias > 0).any()
    assert (bias < 0).any()
    model, *_ = federation(rounds=2, optimizer__weight_decay=0.01, method__head_bias="linear-default")
    assert torch.equal(model["classifier.weight"], start["classifier.weight"])
    assert torch.equal(model["classifier.bias"], bias)
    received = {ARRAYS: start, "head": head_of_model(start)}
    sections, _ = FedLoGe(Worker(config), 0).train(received, ConfigRecord({"server-round": 1}))
    assert torch.equal(sections[ARRAYS]["classifier.weight"], start["classifier.weight"])
    assert torch.equal(sections[ARRAYS]["classifier.bias"], bias)
    wide = FedLoGeServer(head_bias="linear-default").initial_model(Worker(small(model__hidden=512)).state, 0)
    assert 0.5 * 512**-0.5 < wide["classifier.bias"].abs().max() <= 512**-0.5


def test_variants_of_the_global_head() -> None:
    server = FedLoGeServer(kappa=5.0)
    psi = {"weight": tensor((3, 0), (0.8, 0.6)), "bias": tensor(0, 0.3)}
    server.global_head = {name: value.clone() for name, value in psi.items()}
    expected = {
        "global_head": (psi["weight"], psi["bias"]),
        "realigned": (tensor((5, 0), (4, 3)), psi["bias"]),
        "realigned_unit_norm": (tensor((1, 0), (0.8, 0.6)), psi["bias"]),
        "realigned_without_bias": (tensor((5, 0), (4, 3)), tensor(0, 0)),
    }
    variants = server.variants({})
    assert set(variants) == set(expected)
    for name, (weight, bias) in expected.items():
        assert set(variants[name]) == {"classifier.weight", "classifier.bias"}
        torch.testing.assert_close(variants[name]["classifier.weight"], weight)
        torch.testing.assert_close(variants[name]["classifier.bias"], bias)
    assert same(server.global_head, psi)


def test_the_heads_do_not_touch_the_backbone() -> None:
    model, psi, phi = federation()
    frozen, old_psi, old_phi = federation(
        method__global_head_learning_rate_scale=0.0, method__local_head_learning_rate_scale=0.0
    )
    assert same(model, frozen)
    assert not same(psi, old_psi)
    assert same(old_phi[0], FedLoGe(Worker(small()), 0).init_state()["local-head"])
    assert not same(phi[0], old_phi[0])
    start = Worker(small()).state
    torch.testing.assert_close(old_psi["weight"], start["classifier.weight"])


@pytest.mark.parametrize("schedule", [{}, {"schedule__warmup_steps": 9}, {"schedule__name": "cosine-steps"}])
def test_the_heads_follow_the_rate_of_each_step(schedule: dict[str, Any]) -> None:
    """psi begins as the model's head, so where that learns, too, they get the same gradients."""
    options = {**schedule, "rounds": 2, "method__head": "learnable", "optimizer__weight_decay": 0.01}
    model, psi, phi = federation(**options, local__steps=4)
    torch.testing.assert_close(psi["weight"], model["classifier.weight"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(psi["bias"], model["classifier.bias"], rtol=1e-5, atol=1e-6)
    assert not same(phi[0], FedLoGe(Worker(small()), 0).init_state()["local-head"])


def test_a_local_head_matters_to_its_client_alone() -> None:
    model, psi, phi = federation()
    other_model, other_psi, other_phi = federation(shift={1: 0.5})
    assert same(model, other_model)
    assert same(psi, other_psi)
    assert same(phi[0], other_phi[0])
    assert not same(phi[1], other_phi[1])


def test_local_heads_differ_between_clients_and_are_the_same_whenever_made() -> None:
    worker = Worker(small())
    heads = [FedLoGe(worker, client_id).init_state()["local-head"] for client_id in (0, 1, 0)]
    assert same(heads[0], heads[2])
    assert not same(heads[0], heads[1])
    assert heads[0]["weight"].norm(dim=1).mean().item() == pytest.approx(3**-0.5, abs=0.05)


def test_any_fixed_head_takes_the_same_path() -> None:
    model, *_ = federation(local__steps=2)
    for head in ("dense-etf", "sparse-random", "dense-random", "learnable"):
        other, *_ = federation(local__steps=2, method__head=head)
        assert not torch.equal(other["fc1.weight"], model["fc1.weight"])
    dense, *_ = federation(local__steps=2, method__head="dense-etf")
    torch.testing.assert_close(dense["classifier.weight"].norm(dim=1), torch.full((10,), 0.1))
    start = Worker(small()).state["classifier.weight"]
    assert not torch.equal(other["classifier.weight"], start)
    fixed, *_ = federation(local__steps=2, method__head="dense-random")
    assert torch.equal(fixed["classifier.weight"], start)


def test_a_head_of_zeros_gives_the_backbone_no_gradient() -> None:
    worker = Worker(small(model__name="resnet20", local__steps=1))
    start = {name: value.clone() for name, value in worker.state.items()}
    start["classifier.weight"] = torch.zeros_like(start["classifier.weight"])
    head = {"weight": torch.zeros(10, 64), "bias": torch.zeros(10)}
    client = FedLoGe(worker, 0)
    sections, _ = client.train({ARRAYS: start, "head": head}, ConfigRecord({"server-round": 1}))
    moved = {name for name, value in sections[ARRAYS].items() if not torch.equal(value, start[name])}
    assert moved
    assert all("running" in name or "num_batches" in name for name in moved)
    assert sections["head"]["weight"].any()


def test_evaluation_changes_nothing_and_a_new_client_can_predict() -> None:
    worker = Worker(small())
    server = FedLoGeServer()
    model = server.initial_model({name: v.clone() for name, v in worker.state.items()}, 0)
    received = {ARRAYS: model, "head": server.global_head}
    before = {section: {k: v.clone() for k, v in values.items()} for section, values in received.items()}
    client = FedLoGe(worker, 3)
    first, second = (client.test(received, ConfigRecord({"server-round": 1})) for _ in range(2))
    assert first == second
    assert all(same(before[section], received[section]) for section in before)
    assert {"personal_accuracy", "personal_unaligned_accuracy", "accuracy"} <= set(first)


def test_a_model_with_too_few_features_is_refused() -> None:
    worker = Worker(small(model__hidden=9))
    with pytest.raises(UserError, match="9 features for 10 classes"):
        FedLoGe(worker, 0).validate()
    FedLoGe(worker, 0, parameters={"head": "dense-random"}).validate()
    with pytest.raises(UserError, match="9 features for 10 classes"):
        FedLoGeServer().initial_model(Worker(small(model__hidden=9)).state, 0)


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
    after = {name: value.clone() for name, value in worker.state.items()}
    assert equal({name: after[name] for name in sent[ARRAYS]}, sent[ARRAYS])  # running statistics, too
    assert client.test(received, ROUND) == first
    assert equal(worker.state, after)
    for before, now in ((sent, received), (kept, client.state)):
        assert all(equal(before[name], now[name]) for name in before)
    # Whoever else is in a batch has no say.
    singly = Worker(small(model__name=batch_norm_model, evaluate__batch_size=7))
    of_sevens = FedLoGe(singly, 0, copies(kept), {"inference": inference}).test(received, ROUND)
    for name in ("personal_loss", "personal_unaligned_loss", "loss"):
        assert of_sevens[name] == pytest.approx(first[name], rel=1e-5)


CONFIGURATION = small(method__name="fedloge", local__steps=2, optimizer__momentum=0.5, clients__count=2)
ALICE, BOB = 2, 3  # node ids of clients 0 and 1


class AskedFederation:
    """Rounds of chosen clients, which remember every message and the clients' own heads."""

    def __init__(self) -> None:
        self.grid = SequentialGrid(app, 2, CONFIGURATION.flat())
        self.server = FedLoGeServer(head_steps=5)
        initial = Worker(CONFIGURATION).state
        self.model = self.server.initial_model({k: v.clone() for k, v in initial.items()}, 0)
        self.messages: list[RecordDict] = []
        self.server_round = 0

    def _carry(self, messages: Sequence[Message]) -> list[Message]:
        replies = list(self.grid.send_and_receive(messages))
        assert not any(reply.has_error() for reply in replies)
        self.messages += [message.content for message in (*messages, *replies)]
        return replies

    def train(self, *cohort: int) -> Payload:
        """Run a round and return what its clients were sent."""
        self.server_round += 1
        nodes = SimpleNamespace(get_node_ids=lambda: cohort)
        config = ConfigRecord({"server-round": self.server_round})
        messages = list(
            self.server.configure_train(self.server_round, to_record(self.model), config, nodes)  # type: ignore[arg-type]
        )
        received = to_payload(messages[0].content)
        arrays, _ = self.server.aggregate_train(self.server_round, self._carry(messages))
        assert arrays is not None
        self.model = {**self.model, **to_tensors(arrays)}
        return received

    def evaluate(self, node: int) -> tuple[Payload, MetricRecord]:
        """Evaluate one client; return what it was sent and its metrics."""
        nodes = SimpleNamespace(get_node_ids=lambda: [node])
        config = ConfigRecord({"server-round": self.server_round})
        messages = list(
            self.server.configure_evaluate(self.server_round, to_record(self.model), config, nodes)  # type: ignore[arg-type]
        )
        (reply,) = self._carry(messages)
        return to_payload(messages[0].content), reply.content.metric_records[METRICS]

    def local_head(self, node: int) -> Tensors:
        """Return the head that a client keeps, as a checkpoint does."""
        content = RecordDict({CONFIG: ConfigRecord()})
        message = Message(content, dst_node_id=node, message_type=f"{MessageType.QUERY}.get_state")
        (reply,) = self.grid.send_and_receive([message])
        return {name: value.clone() for name, value in to_payload(reply.content)["local-head"].items()}


def test_local_heads_go_on_where_they_were_and_stay_with_their_clients() -> None:
    federation = AskedFederation()
    federation.train(ALICE, BOB)
    heads = [(federation.local_head(ALICE), federation.local_head(BOB))]
    for _ in range(2):
        received = federation.train(ALICE)
        heads.append((federation.local_head(ALICE), federation.local_head(BOB)))
        # The same round of a client that is handed its head, and of one that begins.
        ends = []
        for state in ({"local-head": heads[-2][0]}, {}):
            client = FedLoGe(Worker(CONFIGURATION), 0, dict(state))
            client.train(received, ConfigRecord({"server-round": federation.server_round}))
            ends.append(client.state["local-head"])
        assert equal(heads[-1][0], ends[0])
        assert not equal(heads[-1][0], ends[1])
        assert equal(heads[-1][1], heads[0][1])  # of a client that was not asked
    initial = FedLoGe(Worker(CONFIGURATION), 1).init_state()["local-head"]
    assert not equal(heads[0][1], initial)
    # It predicts with the head that it has, and the new backbone.
    received, metrics = federation.evaluate(BOB)
    losses = []
    for head in (heads[0][1], initial):
        client = FedLoGe(Worker(CONFIGURATION), 1, {"local-head": head})
        losses.append(client.test(received, ConfigRecord({"server-round": 3}))["personal_loss"])
    assert metrics["personal_loss"] == losses[0] != losses[1]
    assert equal(federation.local_head(BOB), heads[0][1])


def test_local_heads_are_in_no_message() -> None:
    federation = AskedFederation()
    private = [FedLoGe(Worker(CONFIGURATION), client).init_state()["local-head"] for client in (0, 1)]
    for cohort in ((ALICE, BOB), (ALICE,)):
        federation.train(*cohort)
        private += [federation.local_head(ALICE), federation.local_head(BOB)]
        federation.evaluate(BOB)
    secrets = [value.numpy() for head in private for value in head.values()]
    trained, evaluated = 0, 0
    for content in federation.messages:
        names = set(content.array_records)
        assert names in ({ARRAYS, "head"}, set())
        trained, evaluated = trained + bool(names), evaluated + (not names)
        for record in content.array_records.values():
            for array in map(np.asarray, to_tensors(record).values()):
                assert not any(np.array_equal(array, secret) for secret in secrets)
    assert (trained, evaluated) == (2 * 3 + 2, 2)  # with arrays: training both ways, evaluation one way
