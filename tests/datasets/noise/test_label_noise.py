"""O-9 and metamorphic property 10 of the Local SGD specification."""

import math

import pytest
import torch
from torch.nn import functional as F

from datasets.noise.label_noise import corrupt_labels, expected_loss, expected_loss_floor


def corrupted(targets: torch.Tensor, probability: float, num_classes: int = 10) -> torch.Tensor:
    return corrupt_labels(targets, probability, num_classes, torch.Generator().manual_seed(0))


def test_expected_loss_and_floor() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
    loss = expected_loss(logits, torch.tensor([0]), 0.3).item()
    assert loss == pytest.approx(0.919846, abs=1e-6)
    assert expected_loss_floor(0.3, 3) == pytest.approx(0.818808, abs=1e-6)
    assert loss - expected_loss_floor(0.3, 3) == pytest.approx(0.101038, abs=1e-6)
    uniform = expected_loss(torch.zeros(1, 10, dtype=torch.float64), torch.tensor([4]), 0.1)
    assert uniform.item() == pytest.approx(math.log(10), abs=1e-12)
    assert expected_loss_floor(0.1, 10) == pytest.approx(0.5448054311, abs=1e-10)
    assert expected_loss_floor(0.0, 10) == 0


def test_without_noise_it_is_cross_entropy() -> None:
    logits = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(7) % 5
    loss = expected_loss(logits, targets, 0.0)
    torch.testing.assert_close(loss, F.cross_entropy(logits, targets, reduction="none"))
    assert torch.equal(corrupted(targets, 0.0, 5), targets)


def test_labels_that_say_nothing() -> None:
    """p = (C - 1) / C: the expected loss does not depend on the label."""
    logits = torch.randn(1, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(5, 5)
    losses = expected_loss(logits, torch.arange(5), 4 / 5)
    assert losses.tolist() == pytest.approx([losses[0].item()] * 5, abs=1e-12)


@pytest.mark.parametrize("probability", [0.1, 0.9])
def test_flips_are_as_frequent_as_told_and_never_the_true_label(probability: float) -> None:
    size = 40_000
    targets = torch.arange(size) % 10
    noisy = corrupted(targets, probability)
    flips = noisy != targets
    deviation = math.sqrt(probability * (1 - probability) / size)
    assert abs(flips.double().mean().item() - probability) < 3 * deviation
    # Given a flip, each of the nine other classes is as likely as the others.
    shifts = torch.bincount((noisy - targets)[flips] % 10, minlength=10)
    count = int(flips.sum())
    assert shifts[0] == 0
    assert (shifts[1:] - count / 9).abs().max() < 4 * math.sqrt(count * 8 / 81)


def test_every_use_draws_anew_and_a_single_sample_is_fine() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.zeros(1000, dtype=torch.int64)
    first, second = (corrupt_labels(targets, 0.5, 10, generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert corrupted(targets[:1], 0.5).shape == (1,)


def test_padding_stays() -> None:
    targets = torch.tensor([[-100, 3], [-100, -100]]).repeat(50, 1)
    noisy = corrupted(targets, 0.9, 4)
    assert torch.equal(noisy < 0, targets < 0)
    assert (noisy[targets >= 0] != 3).any()
