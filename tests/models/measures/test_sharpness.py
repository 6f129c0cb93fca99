import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.measures.sharpness import hessian_trace


def test_of_a_linear_model_it_is_the_exact_trace() -> None:
    """Softmax regression: a Kronecker product per sample, with the trace (1 - |p|^2) (|x|^2 + 1)."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(3, 4).double()
    inputs = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    targets = torch.arange(20) % 4
    p = F.softmax(model(inputs).detach(), dim=1)
    exact = ((1 - (p**2).sum(1)) * ((inputs**2).sum(1) + 1)).mean().item()
    estimate = hessian_trace(model, inputs, targets, 7, 1000, generator)
    assert estimate == pytest.approx(exact, rel=0.08)


def test_it_depends_on_neither_batches_nor_mode_and_leaves_the_model_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()
    inputs, targets = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    values = [
        hessian_trace(model, inputs, targets, size, 3, torch.Generator().manual_seed(1)) for size in (2, 9)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None for param in model.parameters())
    assert model.training
