import math

import pytest
import torch
from torch import Tensor

from models.measures.neural_collapse import (
    ClassStatistics,
    centred_means,
    class_statistics,
    equinorm_and_equiangularity,
    nearest_mean_disagreement,
    negligible_dimensions,
    pairwise_angles,
    self_duality,
    spread,
    within_class_variability,
)

MEANS = torch.tensor([[2.0, 0], [1, 1], [0, 3]], dtype=torch.float64)
FOUR = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 3]])
TWO_CLASSES = torch.tensor([0, 0, 1, 1])


def of_means(means: Tensor) -> ClassStatistics:
    return ClassStatistics(torch.ones(len(means), dtype=torch.int64), means, torch.zeros_like(means))


def close(actual: Tensor, *expected: float) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), atol=1e-4, rtol=1e-6)


def test_statistics_of_one_class() -> None:
    features = torch.tensor([[1.0, 0, 4], [3, 0, 4], [2, 1, 7]])
    statistics = class_statistics(features, torch.zeros(3, dtype=torch.int64), 2)
    close(statistics.means[0], 2, 1 / 3, 5)
    close(statistics.variances[0], 2 / 3, 2 / 9, 2)
    assert statistics.means[0].argsort(descending=True).tolist() == [2, 0, 1]
    assert statistics.counts.tolist() == [3, 0]


def test_angles() -> None:
    close(pairwise_angles(MEANS), 45, 90, 45)
    close(pairwise_angles(centred_means(of_means(MEANS))), 36.8699, 174.0939, 149.0362)


def test_nc1() -> None:
    statistics = class_statistics(FOUR, TWO_CLASSES, 2)
    assert within_class_variability(FOUR, TWO_CLASSES, statistics) == pytest.approx(0.125)


def test_nc1_is_the_trace_with_the_pseudo_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(60) % 4
    features = torch.randn(60, 7, dtype=torch.float64, generator=generator) + targets[:, None] * torch.rand(
        4, 7, dtype=torch.float64, generator=generator
    ).repeat(15, 1)
    statistics = class_statistics(features, targets, 4)
    deviations = features - statistics.means[targets]
    within = deviations.T @ deviations / 60
    centred = centred_means(statistics)
    between = centred.T @ centred / 4
    expected = torch.trace(within @ torch.linalg.pinv(between)) / 4
    assert within_class_variability(features, targets, statistics) == pytest.approx(expected.item())


def test_a_frame_has_collapsed() -> None:
    frame = math.sqrt(4 / 3) * (torch.eye(4, 6, dtype=torch.float64) - torch.eye(4, 6).sum(0) / 4)
    shifted = of_means(frame + 5)
    assert equinorm_and_equiangularity(shifted) == pytest.approx((0, 0), abs=1e-12)
    assert self_duality(3 * frame, shifted) == pytest.approx(0, abs=1e-12)
    assert self_duality(-frame, shifted) == pytest.approx(2)
    norms, angles = equinorm_and_equiangularity(of_means(MEANS))
    assert norms > 0.1
    assert angles > 0.1


def test_nc4() -> None:
    statistics = class_statistics(FOUR, TWO_CLASSES, 2)
    assert nearest_mean_disagreement(FOUR, torch.tensor([0, 0, 1, 0]), statistics) == 0.25


def test_negligible_dimensions() -> None:
    means = torch.arange(10, dtype=torch.float64).flip(0)[None]
    assert negligible_dimensions(of_means(means)).nonzero()[:, 1].tolist() == [6, 7, 8, 9]
    assert negligible_dimensions(of_means(means), 1 - 0.9).sum() == 0  # trunc(0.99...)
    assert negligible_dimensions(of_means(torch.zeros(1, 10)), 0.4).sum() == 0  # strictly below


def test_spread_of_chosen_dimensions() -> None:
    features = torch.tensor([[1.0, 0], [3, 0], [0, 1], [0, 5]])
    statistics = class_statistics(features, TWO_CLASSES, 2)
    # |h - mu| is 1, 1 in the first class and 2, 2 in the second.
    chosen = torch.tensor([[True, False], [False, True]])
    assert spread(features, TWO_CLASSES, statistics, chosen) == pytest.approx(2.5 / 1.5**2)
