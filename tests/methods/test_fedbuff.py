"""FedBuff: updates with the numbers of the specification."""

import pytest
import torch

from common.errors import UserError
from common.records import to_tensors
from tests.methods.asynchronous import configured, make, update
from tests.strategies.messages import make_reply


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


def test_the_servers_rate_and_momentum_are_for_weights_not_for_running_statistics() -> None:
    """The second client is two versions late, so its change counts a third."""
    strategy = make("fedbuff", buffer_size=2, momentum=0.5, server_learning_rate=10.0, staleness_exponent=1.0)
    start = {"w": torch.ones(1), "bn.running_mean": torch.ones(1), "bn.running_var": torch.ones(1)}
    for server_round, w in ((1, 1 + 10 * 0.1), (2, 1 + 10 * (0.5 * 0.1 + 0.1))):
        strategy.global_model, strategy.versions, strategy.arrived = start, {0: start, 2: start}, {0: 2, 1: 0}
        replies = [
            make_reply({"w": [1.1], "bn.running_mean": [1.2], "bn.running_var": [0.7]}, 1, node_id=2),
            make_reply({"w": [1.3], "bn.running_mean": [1.3], "bn.running_var": [0.7]}, 1, node_id=3),
        ]
        arrays, _ = strategy.aggregate_train(server_round, replies)
        assert arrays is not None
        found = to_tensors(arrays)
        assert found["w"].item() == pytest.approx(w, rel=1e-6)
        assert found["bn.running_mean"].item() == pytest.approx(1 + (0.2 + 0.3 / 3) / 2, rel=1e-6)
        assert found["bn.running_var"].item() == pytest.approx(1 - (0.3 + 0.3 / 3) / 2, rel=1e-6)


@pytest.mark.parametrize(("concurrency", "expected"), [(30, 10), (10, 10), (6, 6)])
def test_the_buffer_holds_ten_or_everyone_who_works(concurrency: int, expected: int) -> None:
    strategy = make("fedbuff", concurrency, configured(30))
    assert strategy.num_arrivals == expected
    assert len(strategy.cohort(1)) == expected


def test_a_buffer_larger_than_the_federation_is_refused() -> None:
    with pytest.raises(UserError, match=r"buffer-size is 10.*clients.count, which is 6"):
        make("fedbuff", buffer_size=10)
