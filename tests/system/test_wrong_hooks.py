"""What a hook of somebody's own client half must not return or do, and a method not declare: one line."""

import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field

from clients.base import Client
from clients.local.incoming import Section
from common.errors import ClientFailureError, UserError
from common.parameters import Needs
from strategies.fedavg import FedAvg
from tests.system.own_methods import named, parameter, returns, run

pytestmark = pytest.mark.usefixtures("no_pictures")


def writes(client: Client, params: dict[str, torch.Tensor]) -> None:
    for name in params:
        params[name] = 0 * params[name]


def rebinds(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    writes(client, params)
    return {}


def keeps_other(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    client.state["own"] = {"w": torch.zeros(2)}
    return {}


def keeps_nothing_finite(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    client.state["own"] = {"w": torch.tensor([float("nan")])}
    return {}


OF_CLIENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no truth value": ({"assumes_sgd": lambda self: "no"}, r"\.assumes_sgd returns must be True or False"),
    "no weight": ({"proximal_weight": property(lambda self: -1.0)}, r"\.proximal_weight must be a finite"),
    "validates by a value": ({"validate": lambda self: False}, "returns is not used, and is False"),
    "taken name": (parameter("learning_rate", 0.5), "'learning_rate' of Wrong .* that every client has"),
    "job that is none": (
        {"receives": lambda self: {"mean": Section(self.params, "train")}},
        "needed_for of the section 'mean' must be some of train,",
    ),
    "optimiser without state": (
        {"initial_optimizer": lambda self: {f"momentum_buffer/{n}": 0 * v for n, v in self.params.items()}},
        "has 'momentum_buffer/classifier.weight', which the optimiser does not keep",
    ),
    "optimiser's name first": (
        {"initial_optimizer": lambda self: {"classifier.bias": self.params["classifier.bias"]}},
        "has 'classifier.bias', which the optimiser does not keep",
    ),
    "no model's shape": (
        {"end_round": lambda self, params: {"arrays": {n: v[:1] for n, v in params.items()}}},
        r"end_round returns as 'arrays' has 'classifier.weight' as float32 of shape \(1, 64\): it must be",
    ),
    "taken section": (
        {"end_round": lambda self, params: {"metrics": {"w": torch.zeros(1)}}},
        "end_round returns has a section 'metrics', a name that is taken",
    ),
    "no name": (
        {"end_round": lambda self, params: {"own": {1: torch.zeros(1)}}},
        "section 'own' must be a mapping of names to tensors, and 1 is not a name",
    ),
    "no type of NumPy": (
        {"end_round": lambda self, params: {"own": {"w": torch.zeros(1, dtype=torch.bfloat16)}}},
        "end_round returns: 'w' of section 'own' is bfloat16 .* cannot be sent or kept",
    ),
    "another tensor at the end": ({"end_round": rebinds}, r"another tensor into params\['classifier.w"),
    "another tensor after a step": ({"after_step": writes}, "another tensor into params"),
    "new parameters": (
        {"after_step": lambda self, params: {n: 0 * v for n, v in params.items()}},
        "what .*<lambda> returns is not used",
    ),
    "other state than at first": (
        {"init_state": lambda self: {"own": {"w": torch.zeros(1)}}, "end_round": keeps_other},
        r"the state 'own' of Wrong has 'w' as float32 of shape \(2,\): it must be float32 of shape \(1,\)",
    ),
    "other state than the model's": (
        {"state_form": lambda self: {"own": self.worker.model_state}, "end_round": keeps_other},
        "the state 'own' of .* lacks 'classifier.weight'",
    ),
    "loss without the model": (
        {"loss": lambda self, params, batch: torch.zeros((), requires_grad=True)},
        r"\.loss returns does not depend on the model's parameters",
    ),
    "state that is not finite at first": (
        {"init_state": lambda self: {"own": {"w": torch.tensor([float("inf")])}}},
        r"Wrong\.init_state returns must be finite, and 'w' of section 'own' is not",
    ),
    "no pair": ({"train": returns(None)}, r"Wrong\.train returns must be a pair of .* not None"),
    "three": ({"train": returns(({}, {}, 0))}, r"Wrong\.train returns must be a pair of sections and"),
    "no sections": ({"train": returns(([1], {}))}, r"Wrong\.train returns must be a mapping of sections"),
    "no entry": (
        {"train": returns(({"arrays": {"classifier.wieght": torch.zeros(1)}}, {}))},
        r"Wrong\.train returns has 'classifier\.wieght', which is not an entry of the model; did you mean",
    ),
    "no metrics": ({"train": returns(({}, None))}, r"Wrong\.train returns as metrics must be a mapping of"),
    "no count": ({"train": returns(({}, {"a": 1.0}))}, r"Wrong\.train returns as metrics lacks"),
    "text": (
        {"train": returns(({}, {"num-examples": 1, "a": "b"}))},
        r"Wrong\.train returns as metrics must be a mapping of names to numbers, and 'a' is 'b'",
    ),
    "no end": ({"conclude": returns(None)}, r"Wrong\.conclude returns must be a pair of .* not None"),
    "no test": ({"test": returns(None)}, r"Wrong\.test returns must be a mapping of names to numbers, not"),
    "Flower's fit": (
        {"fit": lambda self, parameters, config: (parameters, 1, {})},
        r"Wrong\.fit would never be called: what a run calls is train",
    ),
    "loss that is not finite": (
        {"loss": lambda self, params, batch: Client.loss(self, params, batch) * float("nan")},
        r"\.loss returns must be finite, and is nan for the initial model",
    ),
    "device": (
        {"correct_gradients": lambda self, params, grads: {n: g.to("meta") for n, g in grads.items()}},
        "correct_gradients returns has 'classifier.weight' on meta: it must be on cpu",
    ),
}  # fmt: skip


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("case", OF_CLIENTS)
def test_of_a_client_half(case: str, stack: int, tmp_path: Path) -> None:
    hooks, expected = OF_CLIENTS[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(Client, hooks), runtime__stack=stack, clients__evaluate_fraction=1.0)


@pytest.mark.parametrize("stack", [1, 2])
def test_a_state_that_becomes_infinite_is_one_line(stack: int, tmp_path: Path) -> None:
    hooks = {"init_state": lambda self: {"own": {"w": torch.zeros(1)}}, "end_round": keeps_nothing_finite}
    with pytest.raises(ClientFailureError) as raised:
        run(tmp_path, named(Client, hooks), runtime__stack=stack)
    lines = str(raised.value).splitlines()
    assert lines[1] == (
        "the client's state 'own' is no longer finite in 'w', though its loss is: see Wrong.end_round"
    )
    assert lines[2].startswith("Most often a learning rate is too high")


OF_BOTH: dict[str, tuple[type, dict[str, Any], str]] = {
    "a key that has a default": (
        Client,
        {"DEFAULTS": {"local.batch-size": 8}},
        "'local.batch-size', which has",
    ),
    "a default of its own": (Client, {"DEFAULTS": {"method.mu": 8}}, "'method.mu', which has a default"),
    "an unknown key": (Client, {"DEFAULTS": {"model.Projection.x": 8}}, "the DEFAULTS of Wrong: unknown key"),
    "a need of nothing": (Client, {"NEEDS": {"mu": Needs("form")}}, "NEEDS names 'mu', which is not a"),
    "a default out of range": (
        FedAvg,
        {"mu": -1.0, "__annotations__": {"mu": Annotated[float, Field(gt=0)]}},
        r"the default of method\.mu in .* must be greater than 0, not -1\.0",
    ),
}


@pytest.mark.parametrize("case", OF_BOTH)
def test_of_a_declaration(case: str, tmp_path: Path) -> None:
    base, declared, expected = OF_BOTH[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(base, declared))


def test_both_halves_have_the_same_default(tmp_path: Path) -> None:
    name = named(Client, parameter("mu", 0.5))
    module = sys.modules[name.partition(":")[0]]
    vars(module)["Server"] = type(
        "Server", (FedAvg,), {**parameter("mu", 0.1), "__module__": module.__name__}
    )
    with pytest.raises(UserError, match="the parameter 'mu' has another default in Server than in Wrong"):
        run(tmp_path, name)


def test_a_section_that_the_server_half_does_not_name_is_no_reply(tmp_path: Path) -> None:
    client = named(Client, {"end_round": lambda self, params: {"own": {"w": torch.zeros(1)}}})
    with pytest.raises(ClientFailureError, match=r"section 'own', which the server half .* in SECTIONS"):
        run(tmp_path, client)
