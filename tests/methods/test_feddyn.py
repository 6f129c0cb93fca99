"""FedDyn in closed form, in float64."""

import pytest

from tests.methods.quadratics import Federation


def test_feddyn_reaches_the_optimum_that_fedavg_misses() -> None:
    federation = Federation(
        "feddyn", [(1.0, 1.0), (10.0, -1.0)], [10, 10], local={"optimizer.learning-rate": 0.05}, alpha=1.0
    )
    for _ in range(100):
        x = federation.round()
    assert x == pytest.approx([-9 / 11], abs=1e-5)
