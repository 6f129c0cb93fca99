import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.errors import UserError
from models.architectures.layers import Dropout
from models.outside import check_keyed, check_registered, key_recurrent_dropout, own_generators
from tests.models.random_models import KINDS, Between

MODULE_GENERATOR = torch.Generator()


class Shared(nn.Module):
    """Has a generator of its class, one of its file, and one that another module has, too."""

    of_class = random.Random(0)

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(1, generator=MODULE_GENERATOR)


def test_own_generators_are_found_wherever_they_are_and_once() -> None:
    generator = torch.Generator()
    found = own_generators(nn.Sequential(Shared(generator), Shared(generator)))
    assert {id(each) for each in found} == {id(MODULE_GENERATOR), id(Shared.of_class), id(generator)}
    assert len(found) == 3
    assert [type(each) for each in own_generators(Between(KINDS["own-generator"]()))] == [
        torch.Generator,
        np.random.Generator,
        random.Random,
        np.random.RandomState,
    ]


def test_the_generator_of_our_dropout_is_trainings() -> None:
    layer = Dropout(0.5)
    layer.generator = torch.Generator()
    assert own_generators(nn.Sequential(layer, nn.BatchNorm2d(3))) == []


def test_the_check_leaves_no_trace() -> None:
    model = Between(nn.Sequential(nn.BatchNorm2d(4), nn.Dropout())).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, state = torch.rand(2, 1, 8, 8), torch.get_rng_state()
    check_keyed(model, "own", inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_what_can_only_pass_is_not_tried() -> None:
    """Its first forward passes would cost every run's start more than the rest of making the model."""
    calls: list[torch.Tensor] = []
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda module, inputs: calls.extend(inputs))
    check_keyed(nn.Sequential(layer, Dropout(0.5)), "own", torch.ones(1, 2))
    assert calls == []
    check_keyed(nn.Sequential(layer, Remembers(persistent=True)), "own", torch.ones(1, 2))
    assert len(calls) == 2


def test_recurrent_dropout_does_without_cudnn() -> None:
    seen: list[bool] = []
    model = Between(KINDS["LSTM"]())
    key_recurrent_dropout(model)
    lstm = model.layer.layer
    assert isinstance(lstm, nn.LSTM)
    lstm.register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.enabled))
    model(torch.rand(2, 1, 8, 8))
    assert seen == [False]
    assert torch.backends.cudnn.enabled


class Remembers(nn.Module):
    """Adds up what it has seen in training."""

    def __init__(self, persistent: bool) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1), persistent=persistent)
        self.register_buffer("constant", torch.ones(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen += x.mean()  # type: ignore[operator]
        return x + self.seen * self.constant


def test_what_a_model_remembers_must_travel() -> None:
    check_keyed(Remembers(persistent=True), "own", torch.ones(1, 2))
    model = Remembers(persistent=False)
    with pytest.raises(UserError, match="keep what it remembers in persistent buffers"):
        check_keyed(model, "own", torch.ones(1, 2))
    assert float(model.seen) == 0  # type: ignore[arg-type]


class Hides(nn.Module):
    """Keeps layers where torch does not look."""

    def __init__(self, hidden: Any) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.again = [self.first, {"weight": self.first.weight}]
        self.hidden = hidden


@pytest.mark.parametrize(
    "hidden", [[nn.Linear(2, 2)], {"a": (nn.Linear(2, 2),)}, (nn.Parameter(torch.zeros(1)),)]
)
def test_parameters_that_torch_does_not_find_are_refused(hidden: Any) -> None:
    with pytest.raises(UserError, match=r"model 'own': torch finds no parameters in a \w+ such as 'hidden'"):
        check_registered(Hides(hidden), "own")


def test_what_is_found_or_never_trained_is_not() -> None:
    check_registered(Hides([nn.Linear(2, 2).requires_grad_(False), 3, nn.ReLU()]), "own")
    check_registered(Hides(nn.ModuleList([nn.LSTM(2, 2)])), "own")


def test_a_layer_without_a_size_is_named() -> None:
    with pytest.raises(UserError, match=r"model 'own': '1.weight' has no size yet"):
        check_registered(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "own")


class Tied(nn.Module):
    """Has one weight in two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)
        self.last.weight = self.first.weight


def test_a_parameter_with_two_names_is_refused() -> None:
    with pytest.raises(UserError, match=r"'last.weight' and 'first.weight' are one parameter"):
        check_registered(Tied(), "own")
    shared = nn.Linear(2, 2)
    with pytest.raises(UserError, match=r"'1.weight' and '0.weight' are one parameter"):
        check_registered(nn.Sequential(shared, shared), "own")
