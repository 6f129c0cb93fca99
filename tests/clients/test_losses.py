import pytest
import torch

from clients.losses import hinge
from common.errors import UserError
from tests.conftest import Runner


def test_hinge() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
    assert hinge(scores, torch.tensor([0, 1])).item() == pytest.approx(1.75)
    assert hinge(torch.tensor([[0.2, 0.1]]), torch.tensor([0])).item() == pytest.approx(0.9)
    with_padding = torch.stack([scores, 9 * scores], dim=2)
    assert hinge(with_padding, torch.tensor([[0, -100], [1, -100]])).item() == pytest.approx(1.75)


def test_a_method_with_a_loss_of_its_own_refuses_another(run_small: Runner) -> None:
    with pytest.raises(UserError, match="'moon' has a loss of its own"):
        run_small(method__name="moon", model__name="mlp", local__loss="hinge")


def test_a_run_with_the_hinge_loss_ends_elsewhere(run_small: Runner) -> None:
    models = [
        (run_small(loss, model__name="linear", local__loss=loss, rounds=1) / "model.safetensors").read_bytes()
        for loss in ("hinge", "cross-entropy")
    ]
    assert models[0] != models[1]
