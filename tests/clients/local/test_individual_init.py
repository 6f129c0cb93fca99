"""Clients that begin the run from initial weights of their own."""

import pytest
import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.individual_init import individual_init
from clients.local.worker import Worker
from clients.registry import load_method
from common.errors import UserError
from common.records import Tensors
from common.sections import Value
from strategies.fedloge import FedLoGe
from tests.clients.jobs import equal, small
from tests.common.configs import make_config

OWN: dict[str, Value] = {"model__individual_init": True, "model__name": "small-cnn"}


def started(client_id: int, server_round: int, **keys: Value) -> Tensors:
    """Return the model with which a client begins its local steps."""
    worker = Worker(small(**{**OWN, **keys}))
    client = Client(worker, client_id)
    sent = {name: value.detach().clone() for name, value in worker.initial_model.items()}
    client.prepare({"arrays": sent}, ConfigRecord({"server-round": server_round}))
    return {name: value.detach().clone() for name, value in client.worker.model_state.items()}


def test_every_client_has_weights_of_its_own_in_the_first_round_alone() -> None:
    first, second = started(0, 1), started(1, 1)
    assert equal(first, started(0, 1))
    weights = [name for name, value in first.items() if value.ndim > 1]
    assert all(not torch.equal(first[name], second[name]) for name in weights)
    shared = started(0, 1, model__individual_init=False)
    assert all(not torch.equal(first[name], shared[name]) for name in weights)
    assert all(first[name].std() == pytest.approx(float(shared[name].std()), rel=0.3) for name in weights)
    assert equal(started(0, 2), shared)  # what was sent


def test_personal_parts_are_the_clients_own_from_the_start() -> None:
    """With ``local-only`` that is the whole model, and with ``fedper`` the head."""
    kept = {}
    for method in ("local-only", "fedper"):
        worker = Worker(small(**OWN))
        client = load_method(method, {}).client_class(worker, 0, {}, {})
        personal = client.personal_names()
        sent = {name: v.detach().clone() for name, v in worker.initial_model.items() if name not in personal}
        client.prepare({"arrays": sent}, ConfigRecord({"server-round": 1}))
        kept[method] = {name: value.detach().clone() for name, value in worker.model_state.items()}
    assert equal(kept["local-only"], started(0, 1))
    assert equal(kept["fedper"], started(0, 1))


def test_what_a_method_measures_against_is_the_individual_start() -> None:
    """FedProx's penalty, for one, is of the distance to where the client began."""
    client = Client(Worker(small(**OWN)), 0)
    sent = {name: value.detach().clone() for name, value in client.worker.initial_model.items()}
    client.prepare({"arrays": sent}, ConfigRecord({"server-round": 1}))
    assert equal(client.global_params, {name: value.detach() for name, value in client.params.items()})
    assert not equal(client.global_params, {name: sent[name] for name in client.params})


def test_the_evaluation_of_the_first_round_is_of_the_model_that_was_sent() -> None:
    found = []
    for own in (True, False):
        worker = Worker(small(model__name="linear", model__individual_init=own))
        sent = {name: value.detach().clone() for name, value in worker.initial_model.items()}
        found.append(Client(worker, 0).test({"arrays": sent}, ConfigRecord({"server-round": 1}))["loss"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ("fedadam", {}), ("fedavgm", {}), ("fedcm", {}), ("feddyn", {}), ("fednova", {}), ("fedbuff", {}),
        ("norm-bounding", {}), ("q-ffl", {}), ("slowmo", {}), ("flwr:FedYogi", {}),
        ("localsgd", {"outer-optimizer": "nesterov"}), ("minibatch-sgd", {"clip-norm": 1.0}),
    ],
)  # fmt: skip
def test_methods_that_step_by_changes_are_refused(method: str, keys: dict[str, Value]) -> None:
    """The distance between the models that a client was sent and that it began with is no step of its."""
    config = make_config({"model.individual-init": True, "method.name": method})
    with pytest.raises(UserError, match=r"model\.individual-init lets clients begin at models of their own"):
        load_method(method, keys).make_strategy().check(config)


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "localsgd", "minibatch-sgd", "gossip-sgd"])
def test_methods_that_average_models_are_not(method: str) -> None:
    assert not load_method(method, {}).make_strategy().measures_changes()


def test_a_head_that_the_server_has_made_stays() -> None:
    worker = Worker(small(model__individual_init=True))
    sent = FedLoGe(head_steps=2).initial_model(worker.initial_model, 0)
    own = individual_init(worker, 3, sent)
    assert torch.equal(own["classifier.weight"], sent["classifier.weight"])
    assert not torch.equal(own["fc1.weight"], sent["fc1.weight"])


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"model.sizes": "width:1.0,width:0.5"}, "leave model.sizes empty"),
        ({"model.weights": "start.safetensors"}, "leave one of them out"),
    ],
)
def test_one_start_for_all_is_refused(keys: dict[str, Value], match: str) -> None:
    with pytest.raises(UserError, match=match):
        make_config({"model.individual-init": True, **keys})
