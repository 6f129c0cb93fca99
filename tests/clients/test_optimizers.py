import pytest
import torch

from clients.optimizers import make_optimizer, reset_optimizer
from common.config import LocalSection, Value
from common.errors import UserError
from tests.common.configs import make_config


def local(**keys: Value) -> LocalSection:
    layer = {f"local.{key.replace('_', '-')}": value for key, value in keys.items()}
    return make_config({"local.lr": 0.1}, layer).local


def descend(optimizer: torch.optim.Optimizer, w: torch.Tensor, num_steps: int) -> list[float]:
    """Steps on the quadratic Q(1, 5), whose gradient is w - 5."""
    path = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        (0.5 * (w - 5) ** 2).backward()
        optimizer.step()
        path.append(w.item())
    return path


def path_of(num_steps: int, **keys: Value) -> list[float]:
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    return descend(make_optimizer([w], local(**keys)), w, num_steps)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [2.3, 2.57, 2.813]),
        ({"momentum": 0.9}, [2.3, 2.84, 3.542]),
        ({"momentum": 0.9, "weight_decay": 0.5}, [2.2, 2.55]),
        ({"momentum": 0.9, "nesterov": True}, [2.57, 3.2747]),
        # Decoupled decay: 2 (1 - 0.05), and Adam's first step is lr whatever the gradient.
        ({"optimizer": "adamw", "weight_decay": 0.5}, [2.0]),
        ({"optimizer": "adamw"}, [2.1]),
    ],
)
def test_steps_on_a_quadratic(keys: dict[str, Value], expected: list[float]) -> None:
    assert path_of(len(expected), **keys) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("keys", [{"momentum": 0.9}, {"optimizer": "adamw"}])
def test_a_reset_optimizer_is_new(keys: dict[str, Value]) -> None:
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([w], local(**keys))
    first = descend(optimizer, w, 3)
    with torch.no_grad():
        w.fill_(2.0)
    reset_optimizer(optimizer, 0.1)
    assert descend(optimizer, w, 3) == first


def test_a_reset_sets_the_learning_rate() -> None:
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([w], local(momentum=0.9))
    reset_optimizer(optimizer, 0.2)
    assert descend(optimizer, w, 1) == pytest.approx([2.6], abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_key_reaches_the_optimizer(name: str) -> None:
    section = local(optimizer=name, momentum=0.3, nesterov=True, weight_decay=0.07)
    optimizer = make_optimizer([torch.zeros(1, requires_grad=True)], section)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.07)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.3, True, 0)


def test_an_unknown_optimizer_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"local\.optimizer: there is no 'adam'; did you mean 'adamw'\?"):
        make_optimizer([torch.zeros(1)], local(optimizer="adam"))
