"""FedSAM in closed form, in float64."""

import pytest
import torch

from tests.methods.quadratics import LR, Federation, close


@pytest.mark.parametrize(("rho", "expected"), [(0.0, 1.8), (0.5, 1.7)])
def test_the_gradient_is_taken_uphill(rho: float, expected: float) -> None:
    """At w = 2 on Q(2, 1) the gradient is 2; at w + rho it is 2 (1 + rho)."""
    federation = Federation("fedsam", [(2.0, 1.0)], [1], start=[2.0], local=LR, rho=rho)
    assert federation.round() == close(expected)


def test_the_step_uphill_has_length_rho_over_all_entries() -> None:
    """From (4, 3) on Q(1, 0) the way is along (0.8, 0.6)."""
    federation = Federation("fedsam", [(1.0, (0.0, 0.0))], [1], start=[4.0, 3.0], local=LR, rho=0.5)
    assert federation.round() == close(4 - 0.1 * 4.4, 3 - 0.1 * 3.3)


def test_without_gradient_it_stays() -> None:
    federation = Federation("fedsam", [(2.0, 1.0)], [3], start=[1.0], local=LR, rho=0.5)
    assert federation.round() == [1.0]
    assert torch.isfinite(federation.w).all()
