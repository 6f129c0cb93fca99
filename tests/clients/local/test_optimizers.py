import pytest
import torch

from clients.local.optimizers import make_optimizer, reset_optimizer, weight_decays
from clients.local.optimizers._groups import parameter_groups
from common.errors import UserError
from common.sections import OptimizerSection, Value
from models import build_model
from tests.common.configs import make_config


def optimizer_section(**keys: Value) -> OptimizerSection:
    layer = {f"optimizer.{key.replace('_', '-')}": value for key, value in keys.items()}
    return make_config({"optimizer.learning-rate": 0.1}, layer).optimizer


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
    return descend(make_optimizer([w], optimizer_section(**keys)), w, num_steps)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, [2.3, 2.57, 2.813]),
        ({"momentum": 0.9}, [2.3, 2.84, 3.542]),
        ({"momentum": 0.9, "weight_decay": 0.5}, [2.2, 2.55]),
        ({"momentum": 0.9, "nesterov": True}, [2.57, 3.2747]),
        # Decoupled decay: 2 (1 - 0.05), and Adam's first step is lr whatever the gradient.
        ({"name": "adamw", "weight_decay": 0.5}, [2.0]),
        ({"name": "adamw"}, [2.1]),
    ],
)
def test_steps_on_a_quadratic(keys: dict[str, Value], expected: list[float]) -> None:
    assert path_of(len(expected), **keys) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "keys",
    [
        {"momentum": 0.9},
        {"name": "adamw"},
        {"name": "lars", "momentum": 0.9},
        {"name": "lamb", "weight_decay_exclude": "none"},
    ],
)
def test_a_reset_optimizer_is_new(keys: dict[str, Value]) -> None:
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([w], optimizer_section(**keys))
    first = descend(optimizer, w, 3)
    with torch.no_grad():
        w.fill_(2.0)
    reset_optimizer(optimizer, 0.1)
    assert descend(optimizer, w, 3) == first


def test_a_reset_sets_the_learning_rate() -> None:
    w = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([w], optimizer_section(momentum=0.9))
    reset_optimizer(optimizer, 0.2)
    assert descend(optimizer, w, 1) == pytest.approx([2.6], abs=1e-12)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_key_reaches_the_optimizer(name: str) -> None:
    of_sgd: dict[str, Value] = {"momentum": 0.3, "nesterov": True} if name == "sgd" else {}
    section = optimizer_section(name=name, weight_decay=0.07, **of_sgd)
    optimizer = make_optimizer([torch.zeros(1, requires_grad=True)], section)
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.07)
    if name == "sgd":
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (0.3, True, 0)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"name": "adamw", "momentum": 0.9}, "'adamw' has no parameter 'optimizer.momentum'"),
        ({"name": "lars", "nesterov": True}, "'lars' has no parameter 'optimizer.nesterov'"),
        ({"name": "lamb", "clip_norm": 1.0, "clip_decay": True}, "'lamb' has no .*'optimizer.clip-decay'"),
        ({"lerning_rate": 0.8}, "'optimizer.lerning-rate'; did you mean 'optimizer.learning-rate'"),
        ({"beta1": 0.8}, "'sgd' has no parameter 'optimizer.beta1'"),
        ({"name": "adamw", "beta2": 1.0}, "optimizer.beta2 must be less than 1, not 1.0"),
        ({"nesterov": True}, "optimizer.nesterov needs optimizer.momentum above 0"),
        ({"weight_decay_exclude": "auto"}, "optimizer.weight-decay-exclude must be 'none' or 'norm-bias'"),
    ],
)
def test_what_an_optimizer_would_ignore_is_refused(keys: dict[str, Value], match: str) -> None:
    with pytest.raises(UserError, match=match):
        make_optimizer([torch.zeros(1)], optimizer_section(**keys))


def test_decays_by_name() -> None:
    params = {"w": torch.zeros(2, 2, requires_grad=True), "b": torch.zeros(2, requires_grad=True)}
    for exclude, expected in (("none", 0.07), ("norm-bias", 0.0)):
        optimizer = make_optimizer(
            params.values(), optimizer_section(weight_decay=0.07, weight_decay_exclude=exclude)
        )
        assert weight_decays(optimizer, params) == {"w": 0.07, "b": expected}


def test_an_unknown_optimizer_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"optimizer\.name: there is no 'adamww'; did you mean 'adamw'\?"):
        make_optimizer([torch.zeros(1)], optimizer_section(name="adamww"))


def test_the_keys_of_the_layer_wise_optimizers_reach_them() -> None:
    param = torch.zeros(2, 2, requires_grad=True)
    lars = make_optimizer(
        [param], optimizer_section(name="lars", momentum=0.3, trust_coefficient=0.02, epsilon=1e-8)
    )
    (group,) = lars.param_groups
    assert (group["momentum"], group["trust_coefficient"], group["eps"]) == (0.3, 0.02, 1e-8)
    lamb = make_optimizer(
        [param], optimizer_section(name="lamb", beta1=0.8, beta2=0.7, bias_correction=False)
    )
    (group,) = lamb.param_groups
    assert (group["betas"], group["eps"], group["bias_correction"]) == ((0.8, 0.7), 1e-6, False)


class TestWeightDecayGroups:
    """O-7 and metamorphic property 11 of the Local SGD specification."""

    @pytest.mark.parametrize(("exclude", "bias"), [("norm-bias", 2.9), ("none", 2.75)])
    def test_one_step(self, exclude: str, bias: float) -> None:
        w = torch.full((1, 1), 2.0, dtype=torch.float64, requires_grad=True)
        b = torch.full((1,), 3.0, dtype=torch.float64, requires_grad=True)
        optimizer = make_optimizer([w, b], optimizer_section(weight_decay=0.5, weight_decay_exclude=exclude))
        (w.sum() + b.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert (w.item(), b.item()) == pytest.approx((1.8, bias), abs=1e-12)

    def test_of_resnet56(self) -> None:
        model = build_model("resnet56", (3, 32, 32), 10)
        groups = parameter_groups(model.parameters(), "norm-bias")
        assert [sum(param.numel() for param in group["params"]) for group in groups] == [848_944, 4_074]

    @pytest.mark.parametrize("name", ["sgd", "adamw"])
    def test_without_gradient_only_weights_shrink(self, name: str) -> None:
        model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.GroupNorm(1, 2)).double()
        before = {key: value.detach().clone() for key, value in model.named_parameters()}
        section = optimizer_section(name=name, weight_decay=0.5, weight_decay_exclude="norm-bias")
        optimizer = make_optimizer(model.parameters(), section)
        for _ in range(3):
            for param in model.parameters():
                param.grad = torch.zeros_like(param)
            optimizer.step()
        for key, value in model.named_parameters():
            factor = 0.95**3 if key == "0.weight" else 1.0
            torch.testing.assert_close(value.detach(), factor * before[key], rtol=1e-12, atol=0)

    def test_layer_wise_optimizers_exclude_by_default(self) -> None:
        params = [torch.zeros(2, 2), torch.zeros(2)]
        adapt = {
            name: [
                group.get("adapt", True)
                for group in make_optimizer(params, optimizer_section(name=name)).param_groups
            ]
            for name in ("sgd", "lars", "lamb")
        }
        assert adapt == {"sgd": [True], "lars": [True, False], "lamb": [True, False]}
