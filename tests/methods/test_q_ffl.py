"""q-FFL in closed form, in float64."""

import pytest

from tests.methods.quadratics import LR, Federation, close

TWO = [(1.0, 1.0), (2.0, -1.0)]


def test_one_client_by_hand() -> None:
    """F = 1/2, L (x - y) = -1: Delta = -1/2, h = 1 + 10 / 2."""
    assert Federation("q-ffl", TWO[:1], [1], local=LR, q=1.0).round() == close(0.5 / 6)


def test_two_clients_by_hand() -> None:
    """F = (1/2, 1), L (x - y) = (-1, 2): Delta = (-1/2, 2), h = (6, 14)."""
    federation = Federation("q-ffl", TWO, [1, 1], local=LR, q=1.0)
    assert federation.round() == close(-1.5 / 20)


@pytest.mark.parametrize(("keys", "corrections"), [({}, {0: 2.0, 1: 1.0}), ({"weighting": "uniform"}, None)])
def test_weights_count_in_both_sums(keys: dict[str, str], corrections: dict[int, float] | None) -> None:
    federation = Federation("q-ffl", TWO, [1, 1], counts=[1, 3], local=LR, q=1.0, **keys)
    first, second = (2.0, 3.0) if corrections else (1.0, 1.0)
    expected = -(first * -0.5 + second * 2) / (first * 6 + second * 14)
    assert federation.round(corrections=corrections) == close(expected)


def test_q_zero_is_fedavg() -> None:
    fair, average = (
        Federation("q-ffl", TWO, [2, 3], counts=[1, 4], local=LR, q=0.0),
        Federation("fedavg", TWO, [2, 3], counts=[1, 4], local=LR),
    )
    for _ in range(3):
        assert fair.round() == pytest.approx(average.round(), abs=1e-12)


def test_a_large_q_evens_out_the_losses() -> None:
    def spread(q: float) -> float:
        federation = Federation("q-ffl", [(1.0, 1.0), (1.0, -3.0)], [1, 1], counts=[3, 1], local=LR, q=q)
        for _ in range(50):
            (w,) = federation.round()
        return abs((w - 1) ** 2 - (w + 3) ** 2) / 2

    spreads = [spread(q) for q in (0.0, 1.0, 5.0)]
    assert spreads[0] > spreads[1] > spreads[2]
    # Where 3 F_1^q F_1' + F_2^q F_2' = 0; for q = 1 that is 3 (1 - w)^3 = (w + 3)^3.
    w = (3 ** (1 / 3) - 3) / (1 + 3 ** (1 / 3))
    assert spreads[1] == pytest.approx(abs((w - 1) ** 2 - (w + 3) ** 2) / 2, abs=1e-3)


def test_a_loss_of_zero_stays_finite() -> None:
    federation = Federation("q-ffl", [(1.0, 0.0)], [1], local=LR, q=0.5)
    assert federation.round() == close(0.0)
