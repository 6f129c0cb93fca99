"""Norms over several tensors, in closed form and in float64."""

import torch

from common.norms import norm, squared_norm


def test_norms_are_over_all_elements_in_float64() -> None:
    section = {"weight": torch.tensor([[1.0, -2.0], [2.0, 0.0]]), "bias": torch.tensor([4.0])}
    assert (float(squared_norm(section)), float(norm(section))) == (25, 5)
    assert norm(section).dtype == torch.float64
    tiny = torch.full((4,), 1e-30)  # its square is 0 in float32
    assert float(norm({"weight": tiny})) == 2 * float(tiny[0])
    assert float(norm({})) == 0
