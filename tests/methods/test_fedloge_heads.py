"""FedLoGe's three heads: the fixed one, the global one and the local ones."""

from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord

from clients.fedloge import FedLoGe
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.records import ARRAYS
from models.heads.realignment import head_of_model
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import small
from tests.methods.federation import LossWorker
from tests.methods.fedloge import TwoLayers, federation, same, tensor

pytestmark = pytest.mark.usefixtures("few_head_steps")


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
        client.received = {"head": head_of_model(client.worker.model_state)}
        client.server_round = server_round
        masks.append(client._draw_mask())
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert set(masks[0].unique().tolist()) == {0.0, 1.0}
    assert masks[0].mean().item() == pytest.approx(0.5, abs=0.1)
    start = FedLoGeServer(head=head).initial_model(Worker(small()).model_state, 0)
    model, _, _ = federation(method__head=head)
    assert torch.equal(model["classifier.weight"], start["classifier.weight"])
    assert (start["classifier.weight"] != 0).all()
    dense, _, _ = federation(method__head="dense-etf")
    assert torch.equal(dense["classifier.weight"], model["classifier.weight"])
    assert not torch.equal(dense["fc1.weight"], model["fc1.weight"])


def test_the_fixed_head_is_the_same_to_the_last_bit_after_any_number_of_rounds() -> None:
    start = FedLoGeServer().initial_model(Worker(small()).model_state, 0)
    model, _, _ = federation(rounds=2, optimizer__weight_decay=0.01)
    assert torch.equal(model["classifier.weight"], start["classifier.weight"])
    assert int((model["classifier.weight"] == 0).sum()) == int(0.6 * 64 * 10)
    assert not model["classifier.bias"].any()
    assert not torch.equal(model["fc1.weight"], start["fc1.weight"])


def test_a_random_bias_of_the_fixed_head_is_that_of_a_linear_layer_and_stays() -> None:
    config = small(optimizer__weight_decay=0.01)
    start = FedLoGeServer(head_bias="linear-default").initial_model(Worker(config).model_state, 0)
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
    wide = FedLoGeServer(head_bias="linear-default").initial_model(
        Worker(small(model__hidden=512)).model_state, 0
    )
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
    start = Worker(small()).model_state
    torch.testing.assert_close(old_psi["weight"], start["classifier.weight"])


@pytest.mark.parametrize("schedule", [{}, {"schedule__warmup_steps": 9}, {"schedule__name": "cosine-steps"}])
def test_the_heads_follow_the_rate_of_each_step(schedule: dict[str, Any]) -> None:
    """psi begins as the model's head, so where that learns, too, they get the same gradients."""
    options = {**schedule, "rounds": 2, "method__head": "learnable", "optimizer__weight_decay": 0.01}
    model, psi, phi = federation(**options, local__steps=4)
    torch.testing.assert_close(psi["weight"], model["classifier.weight"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(psi["bias"], model["classifier.bias"], rtol=1e-5, atol=1e-6)
    assert not same(phi[0], FedLoGe(Worker(small()), 0).init_state()["local-head"])


def test_any_fixed_head_takes_the_same_path() -> None:
    model, *_ = federation(local__steps=2)
    for head in ("dense-etf", "sparse-random", "dense-random", "learnable"):
        other, *_ = federation(local__steps=2, method__head=head)
        assert not torch.equal(other["fc1.weight"], model["fc1.weight"])
    dense, *_ = federation(local__steps=2, method__head="dense-etf")
    torch.testing.assert_close(dense["classifier.weight"].norm(dim=1), torch.full((10,), 0.1))
    start = Worker(small()).model_state["classifier.weight"]
    assert not torch.equal(other["classifier.weight"], start)
    fixed, *_ = federation(local__steps=2, method__head="dense-random")
    assert torch.equal(fixed["classifier.weight"], start)


def test_a_head_of_zeros_gives_the_backbone_no_gradient() -> None:
    worker = Worker(small(model__name="resnet20", local__steps=1))
    start = {name: value.clone() for name, value in worker.model_state.items()}
    start["classifier.weight"] = torch.zeros_like(start["classifier.weight"])
    head = {"weight": torch.zeros(10, 64), "bias": torch.zeros(10)}
    client = FedLoGe(worker, 0)
    sections, _ = client.train({ARRAYS: start, "head": head}, ConfigRecord({"server-round": 1}))
    moved = {name for name, value in sections[ARRAYS].items() if not torch.equal(value, start[name])}
    assert moved
    assert all("running" in name or "num_batches" in name for name in moved)
    assert sections["head"]["weight"].any()


def test_a_model_with_too_few_features_is_refused() -> None:
    worker = Worker(small(model__hidden=9))
    with pytest.raises(UserError, match="9 features for 10 classes"):
        FedLoGe(worker, 0).validate()
    FedLoGe(worker, 0, parameters={"head": "dense-random"}).validate()
    with pytest.raises(UserError, match="9 features for 10 classes"):
        FedLoGeServer().initial_model(Worker(small(model__hidden=9)).model_state, 0)
