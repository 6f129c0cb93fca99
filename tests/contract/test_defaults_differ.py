"""A method at its default parameters is not FedAvg: some libraries' FedProx has mu = 0 unless it is set."""

import pytest

from tests.methods.quadratics import LR, Federation

QUADRATICS = [(1.0, 1.0), (2.0, -3.0), (0.5, 2.0)]
# FedNova is FedAvg where all clients make as many steps, as here two of them do not.
STEPS = [2, 4, 3]
METHODS = (
    "afl", "fedadagrad", "fedadam", "fedavgm", "fedcm", "feddyn", "fedexp", "fednova", "fedprox", "fedsam",
    "fedyogi", "mime-lite", "q-ffl", "scaffold", "slowmo",
)  # fmt: skip


def trained(method: str) -> float:
    """Return the global w after three rounds; clients have one sample each, so all weights are equal."""
    federation = Federation(method, QUADRATICS, STEPS, local=LR)
    for _ in range(3):
        federation.round()
    return float(federation.w)


@pytest.mark.parametrize("method", METHODS)
def test_defaults_differ_from_fedavg(method: str) -> None:
    assert abs(trained(method) - trained("fedavg")) > 1e-4
