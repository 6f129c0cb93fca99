"""The geometric median, in closed form."""

import math

import pytest
import torch

from strategies.geometric_median import geometric_median
from tests.methods.quadratics import LR, Federation


def median(points: list[list[float]], weights: list[float], iterations: int = 200) -> list[float]:
    tensors = torch.tensor(points, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    found: list[float] = geometric_median(*tensors, iterations, 1e-9).tolist()
    return found


def test_on_a_line_it_is_the_middle_one() -> None:
    assert median([[0.0], [1.0], [100.0]], [1, 1, 1]) == pytest.approx([1.0], abs=1e-6)
    assert median([[0.0], [1.0], [100.0]], [1, 1, 3]) == pytest.approx([100.0], abs=1e-6)


def test_of_a_triangle_it_sees_all_sides_at_120_degrees() -> None:
    # Fermat's point of (0, 0), (1, 0), (0, 1): on the diagonal, at (3 - sqrt(3)) / 6.
    expected = (3 - math.sqrt(3)) / 6
    assert median([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [1, 1, 1]) == pytest.approx([expected] * 2, abs=1e-6)


def test_one_iteration_is_one_step_of_weiszfeld() -> None:
    # From the mean 2 of 0, 0, 6: distances 2, 2, 4, so that z = (6 / 4) / (1 / 2 + 1 / 2 + 1 / 4).
    assert median([[0.0], [0.0], [6.0]], [1, 1, 1], iterations=1) == pytest.approx([1.2])


def test_one_client_far_away_moves_it_little() -> None:
    # One step with rate 0.1 on (w - b)^2 / 2 from 0 ends at 0.1 b.
    quadratics = [(1.0, 1.0), (1.0, 1.0), (1.0, 1e6)]
    federation = Federation("geometric-median", quadratics, [1, 1, 1], local=LR, iterations=100)
    assert federation.round() == pytest.approx([0.1], abs=1e-3)
    assert Federation("fedavg", quadratics, [1, 1, 1], local=LR).round()[0] > 1e4
