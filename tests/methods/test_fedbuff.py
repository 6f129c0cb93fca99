"""FedBuff: updates with the numbers of the specification."""

import pytest

from common.errors import UserError
from tests.methods.asynchronous import configured, make, update


def test_fedbuff() -> None:
    replies = [(0.2, 0), (-0.1, 1), (0.4, 3)]
    for drift in (0.0, 0.7):  # changes are relative to the versions that the clients began with
        found = update(make("fedbuff", buffer_size=3), replies, drift=drift)
        assert found == pytest.approx(1.1097631073, abs=1e-9)
    halved = update(make("fedbuff", buffer_size=3, server_learning_rate=0.5), replies)
    assert halved == pytest.approx(1 + 0.1097631073 / 2, abs=1e-9)
    by_examples = update(make("fedbuff", buffer_size=3, weighting="examples"), replies)
    assert by_examples == pytest.approx(1 + (0.2 - 2 * 0.1 / 2**0.5 + 3 * 0.4 / 2) / 6, abs=1e-9)


def test_momentum_is_a_running_sum_of_updates() -> None:
    strategy = make("fedbuff", buffer_size=1, momentum=0.5, server_learning_rate=2.0)
    assert update(strategy, [(0.2, 0)]) == pytest.approx(1.4)
    assert update(strategy, [(0.4, 3)]) == pytest.approx(1 + 2 * (0.5 * 0.2 + 0.4 / 2))
    assert strategy.state()["velocity"]["w"].item() == pytest.approx(0.3)


@pytest.mark.parametrize(("concurrency", "expected"), [(30, 10), (10, 10), (6, 6)])
def test_the_buffer_holds_ten_or_everyone_who_works(concurrency: int, expected: int) -> None:
    strategy = make("fedbuff", concurrency, configured(30))
    assert strategy.num_arrivals == expected
    assert len(strategy.cohort(1)) == expected


def test_a_buffer_larger_than_the_federation_is_refused() -> None:
    with pytest.raises(UserError, match=r"buffer-size is 10.*clients.count, which is 6"):
        make("fedbuff", buffer_size=10)
