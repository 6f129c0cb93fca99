"""Short vectors that keep norms and angles."""

import numpy as np
import pytest
import torch

from server.participation._sketch import sketch


def test_sketches_keep_norms_and_angles() -> None:
    generator = torch.Generator().manual_seed(0)
    one, two = (torch.randn(20_000, generator=generator, dtype=torch.float64) for _ in range(2))
    first, second = sketch({"a": one[:50], "b": one[50:]}, 0), sketch({"a": one + two}, 0)
    assert first.shape == (128,)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine == pytest.approx(0.5**0.5, abs=0.2)
    assert np.linalg.norm(first) == pytest.approx(float(one.norm()), rel=0.25)
    assert sketch({"a": 2 * one}, 0) == pytest.approx(2 * first)
