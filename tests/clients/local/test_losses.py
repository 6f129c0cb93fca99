import functools
import math

import pytest
import torch
from torch.nn import functional as F

from clients.local.losses.focal import loss as focal
from clients.local.losses.focus import loss as focus
from clients.local.losses.hinge import loss as hinge
from clients.local.losses.ldam import loss as ldam
from clients.local.losses.ldam import margins as ldam_margins
from common.errors import UserError
from tests.conftest import Runner


def test_hinge() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
    assert hinge(scores, torch.tensor([0, 1])).item() == pytest.approx(1.75)
    assert hinge(torch.tensor([[0.2, 0.1]]), torch.tensor([0])).item() == pytest.approx(0.9)


def test_smooth_hinge_weighs_with_probabilities_where_that_is_positive() -> None:
    """Of the first sample sum p t is negative; of the second it is 0.043986 * 0.5 + 0.883492 * 3.5."""
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0]], dtype=torch.float64, requires_grad=True)
    loss = hinge(scores, torch.tensor([0, 1]), smooth=True)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx((0 + 3.114215) / 2, abs=1e-6)
    assert scores.grad is not None
    assert scores.grad[1].tolist() == pytest.approx(
        [0.043986 / 2, (0.072522 - 1) / 2, 0.883492 / 2], abs=1e-6
    )


def test_focus_trains_the_score_of_the_label_alone() -> None:
    """Softplus of -1, 0.5 and 2: 0.313262, 0.974077, 2.126928; sigmoid(1) - 1 = -0.268941."""
    scores = torch.tensor([[1.0, 0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    loss = focus(scores, torch.tensor([0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(0.313262 + 0.974077 + 2.126928, abs=1e-6)
    expected = F.binary_cross_entropy_with_logits(
        scores, F.one_hot(torch.tensor([0]), 3).double(), reduction="sum"
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert scores.grad is not None
    assert scores.grad[0].tolist() == pytest.approx([-0.268941, 0, 0], abs=1e-6)


@pytest.mark.parametrize("name", ["focal", "focus", "hinge", "smooth hinge", "ldam"])
def test_padding_neither_counts_nor_pulls(name: str) -> None:
    of = {
        "focal": focal,
        "focus": focus,
        "hinge": hinge,
        "smooth hinge": functools.partial(hinge, smooth=True),
        "ldam": functools.partial(ldam, label_counts=torch.tensor([9, 4, 1])),
    }
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
    padded = torch.stack([scores, 9 * scores], dim=2).requires_grad_()
    loss = of[name](padded, torch.tensor([[0, -100], [1, -100]]))
    loss.backward()
    torch.testing.assert_close(loss, of[name](scores, torch.tensor([0, 1])))
    assert padded.grad is not None
    assert padded.grad[..., 0].abs().sum() > 0
    assert padded.grad[..., 1].abs().sum() == 0


def test_focal() -> None:
    """p_y is 0.8 and 0.25: 0.2^2 ln 1.25 = 0.00892574 and 0.75^2 ln 4 = 0.77979056."""
    scores = torch.tensor([[0.8, 0.2], [0.75, 0.25]], dtype=torch.float64).log()
    targets = torch.tensor([0, 1])
    assert focal(scores, targets, gamma=2.0).item() == pytest.approx((0.00892574 + 0.77979056) / 2, abs=1e-7)
    plain = torch.nn.functional.cross_entropy(scores, targets).item()
    assert focal(scores, targets, gamma=0.0).item() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("gap", [1.0, 20.0, 30.0, 80.0, 500.0])
def test_focal_pulls_however_far_the_scores_are_apart(gamma: float, gap: float) -> None:
    """For s = (0, gap) and y = 0 the loss tends to the gap and its gradient to (-1, 1)."""
    scores = torch.tensor([[0.0, gap]], requires_grad=True)
    loss = focal(scores, torch.tensor([0]), gamma=gamma)
    loss.backward()  # type: ignore[no-untyped-call]
    log_p, log_rest = -gap - math.log1p(math.exp(-gap)), -math.log1p(math.exp(-gap))
    assert loss.item() == pytest.approx(-math.exp(gamma * log_rest) * log_p, rel=1e-5)
    p, rest = math.exp(log_p), math.exp(log_rest)
    slope = rest**gamma * (gamma * p * log_p - rest)
    assert scores.grad is not None
    assert scores.grad[0].tolist() == pytest.approx([slope, -slope], rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("gap", [10.0, 20.0, 40.0, 200.0, 1e6])
def test_focal_of_a_sample_that_is_certain_is_small_and_finite(gamma: float, gap: float) -> None:
    """For y = 1 it tends to e^(-(1 + gamma) gap): 1 - p_y is 0 in float32 beyond 17, and so is log p_y."""
    scores = torch.tensor([[0.0, gap, -gap]], requires_grad=True)
    loss = focal(scores, torch.tensor([1]), gamma=gamma)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(math.exp(-(1 + gamma) * gap), rel=1e-3, abs=2e-7)
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().max() <= 1e-3


def test_focal_under_mixed_precision_is_computed_in_float32() -> None:
    scores = torch.tensor([[0.0, 30.0]], dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert focal(scores, torch.tensor([0]), gamma=2.0).dtype == torch.float32


def test_ldam() -> None:
    """Counts 16 and 1: margins 0.25 and 0.5; z = (1, 0), y = 1: ln(1 + e^(s (1 + 0.5)))."""
    counts = torch.tensor([16, 0, 1])
    margins = ldam_margins(counts, 0.5)
    assert margins.tolist() == pytest.approx([0.25, 0.0, 0.5])
    scores, targets = torch.tensor([[1.0, -99.0, 0.0]], dtype=torch.float64), torch.tensor([2])
    assert ldam(scores, targets, counts, scale=2.0).item() == pytest.approx(math.log1p(math.exp(3)), abs=1e-9)
    without = ldam(scores, targets, counts, margin=0.0, scale=1.0).item()
    assert without == pytest.approx(torch.nn.functional.cross_entropy(scores, targets).item(), abs=1e-9)


def test_a_method_with_a_loss_of_its_own_refuses_another(run_small: Runner) -> None:
    with pytest.raises(UserError, match="'moon' has a loss of its own"):
        run_small(method__name="moon", model__name="mlp", loss__name="hinge")


def test_a_run_with_the_hinge_loss_ends_elsewhere(run_small: Runner) -> None:
    models = [
        (run_small(loss, model__name="linear", loss__name=loss, rounds=1) / "model.safetensors").read_bytes()
        for loss in ("hinge", "focal", "ldam", "cross-entropy")
    ]
    assert len(set(models)) == 4
