import math

import pytest
import torch

from clients.local.losses.focal import loss as focal
from clients.local.losses.hinge import loss as hinge
from clients.local.losses.ldam import loss as ldam
from clients.local.losses.ldam import margins as ldam_margins
from common.errors import UserError
from tests.conftest import Runner


def test_hinge() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
    assert hinge(scores, torch.tensor([0, 1])).item() == pytest.approx(1.75)
    assert hinge(torch.tensor([[0.2, 0.1]]), torch.tensor([0])).item() == pytest.approx(0.9)
    with_padding = torch.stack([scores, 9 * scores], dim=2)
    assert hinge(with_padding, torch.tensor([[0, -100], [1, -100]])).item() == pytest.approx(1.75)


def test_focal() -> None:
    """p_y is 0.8 and 0.25: 0.2^2 ln 1.25 = 0.00892574 and 0.75^2 ln 4 = 0.77979056."""
    scores = torch.tensor([[0.8, 0.2], [0.75, 0.25]], dtype=torch.float64).log()
    targets = torch.tensor([0, 1])
    assert focal(scores, targets, gamma=2.0).item() == pytest.approx((0.00892574 + 0.77979056) / 2, abs=1e-7)
    plain = torch.nn.functional.cross_entropy(scores, targets).item()
    assert focal(scores, targets, gamma=0.0).item() == pytest.approx(plain, abs=1e-9)


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
