"""Optimisers below torch's compiler: the same steps, and torch still is as they expect it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from clients.local.eager import WRAPPED, eager, unwrapped
from clients.local.optimizers.lamb import LAMB
from clients.local.optimizers.lars import LARS

CASES = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "fused": True}),
    (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.AdamW, {"lr": 0.1, "fused": True}),
    (torch.optim.Adam, {"lr": 0.1}),
    (torch.optim.RMSprop, {"lr": 0.1}),
    (LARS, {"lr": 0.1}),
    (LAMB, {"lr": 0.1}),
]
NAMES = [f"{optimizer.__name__}-{len(options)}" for optimizer, options in CASES]


def trained(optimizer_class: type[torch.optim.Optimizer], options: dict, model: nn.Module) -> list:
    optimizer = optimizer_class(model.parameters(), **options)
    inputs = torch.arange(12.0).view(4, 3)
    for step in range(6):
        if step == 3:  # a new one takes up where the old one was
            state = optimizer.state_dict()
            optimizer = optimizer_class(model.parameters(), **options)
            optimizer.load_state_dict(state)
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    assert torch.is_grad_enabled()
    return [value.detach().clone() for value in model.parameters()]


@pytest.mark.parametrize(("optimizer_class", "options"), CASES, ids=NAMES)
def test_steps_have_the_bits_of_torchs(optimizer_class: type, options: dict) -> None:
    start = nn.Linear(3, 2).state_dict()
    results = []
    for used in (optimizer_class, eager(optimizer_class)):
        model = nn.Linear(3, 2)
        model.load_state_dict(start)
        results.append(trained(used, options, model))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_a_closure_has_its_gradients() -> None:
    weight = torch.tensor([2.0], requires_grad=True)
    optimizer = eager(torch.optim.SGD)([weight], lr=0.25)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4.0
    assert weight.tolist() == [1.0]


def test_a_differentiable_step_keeps_its_graph() -> None:
    leaf = torch.tensor([1.0], requires_grad=True)
    weight = leaf * 1.0
    optimizer = eager(torch.optim.SGD)([weight.detach().requires_grad_()], lr=0.5, differentiable=True)
    optimizer.param_groups[0]["params"][0] = weight
    weight.grad = leaf * 3.0
    optimizer.step()
    assert weight.requires_grad
    (slope,) = torch.autograd.grad(weight.sum(), leaf)
    assert slope.tolist() == [1.0 - 0.5 * 3.0]


def test_other_decorators_stay() -> None:
    class Counted(torch.optim.SGD):
        @torch.no_grad()
        def step(self, closure=None):  # type: ignore[no-untyped-def, override]
            assert not torch.is_grad_enabled()

    assert unwrapped(Counted.step) is Counted.step
    eager(Counted)([torch.zeros(1, requires_grad=True)]).step()


def wrappers(function: object) -> list[str]:
    """Return the names of the functions that are around one, as they were written."""
    names = []
    while hasattr(function, "__wrapped__"):
        names.append(function.__code__.co_name)  # type: ignore[attr-defined]
        function = function.__wrapped__
    return names


@pytest.mark.parametrize("name", WRAPPED)
def test_torch_has_the_wrappers_that_are_left_out(name: str) -> None:
    """Where this fails torch has changed: look whether ``clients/local/eager.py`` is still needed."""
    wrapper = "_use_grad" if name == "step" else "inner"
    assert wrapper in wrappers(getattr(torch.optim.SGD, name))
    assert wrapper not in wrappers(getattr(eager(torch.optim.SGD), name))


def test_a_compiled_model_trains_with_them() -> None:
    model = nn.Linear(3, 2)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    plain = trained(eager(torch.optim.SGD), {"lr": 0.1}, model)
    model.load_state_dict(start)
    model.compile(backend="eager")
    compiled = trained(eager(torch.optim.SGD), {"lr": 0.1}, model)
    assert all(torch.equal(first, second) for first, second in zip(plain, compiled, strict=True))


RUN = """
import sys, torch, run_simulation
from clients.local.optimizers import make_optimizer
from server.round_loop import RoundLoop
from common.config import Config
from common.config_values import merge
small = ["rounds=1", "clients.count=2", "local.epochs=0", "local.steps=1", "clients.evaluate-fraction=0.5"]
settings = [part for text in small for part in ("--set", text)]
run = RoundLoop.run
def watched(loop):
    late = ("pandas", "PIL", "matplotlib", "scipy", "torchvision")
    print("before the first round:", *(name for name in late if name in sys.modules))
    run(loop)
RoundLoop.run = watched
assert run_simulation.main([*settings, "--run-dir", sys.argv[1]]) == 0
section = Config.from_flat(merge()).optimizer
for name in ("sgd", "adamw", "lars", "lamb"):
    weight = torch.ones(2, 2, requires_grad=True)
    optimizer = make_optimizer([weight], section.model_copy(update={"name": name}))
    weight.sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
import analysis.comparison.compare
large = ("torch._dynamo", "sklearn", "scipy.stats", "ray", "matplotlib.pyplot")
print("imported:", *(name for name in large if name in sys.modules))
"""


def test_a_run_imports_none_of_the_large_packages_that_it_does_not_need(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path / "run")]
    root = Path(__file__).parents[3]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    assert answer.splitlines()[-1] == "imported:"
    assert "before the first round:" in answer.splitlines()
