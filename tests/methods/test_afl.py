"""AFL in closed form, in float64: the weights of clients and their projection."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.records import to_tensors
from strategies.afl import AFL, nearest_in_simplex
from tests.methods.quadratics import LR, Federation, close
from tests.strategies.messages import make_reply, record

TWO = [(1.0, 1.0), (2.0, -1.0)]


def mixture(federation: Federation) -> list[float]:
    assert isinstance(federation.strategy, AFL)
    return federation.strategy.mixture.tolist()


def test_a_round_by_hand() -> None:
    """Losses (1/2, 1) raise lambda to (0.55, 0.6), which projects to (0.475, 0.525)."""
    federation = Federation("afl", TWO, [1, 1], local=LR)
    assert federation.round() == close(0.5 * 0.1 - 0.5 * 0.2)
    assert mixture(federation) == close(0.475, 0.525)
    x = -0.05
    y = (x - 0.1 * (x - 1), x - 0.2 * (x + 1))
    assert federation.round() == close(0.475 * y[0] + 0.525 * y[1])
    assert federation.strategy.round_metrics["lambda_max"] == max(mixture(federation))


def test_lambda_starts_at_the_weights_of_the_mean() -> None:
    by_size = Federation("afl", TWO, [1, 1], counts=[1, 3], local=LR, lambda_learning_rate=0.0)
    average = Federation("fedavg", TWO, [1, 1], counts=[1, 3], local=LR)
    assert by_size.round() == pytest.approx(average.round(), abs=1e-15)
    assert mixture(by_size) == close(0.25, 0.75)
    uniform = Federation("afl", TWO, [1, 1], counts=[1, 3], local=LR, weighting="uniform")
    assert mixture(uniform) == close(0.5, 0.5)


def test_absent_clients_count_with_a_loss_of_zero() -> None:
    federation = Federation("afl", TWO, [1, 1], local=LR)
    assert federation.round([1]) == close(-0.2)
    assert mixture(federation) == close(0.45, 0.55)


def test_a_cohort_without_weight_counts_alike_and_a_correction_comes_on_top() -> None:
    federation = Federation("afl", [*TWO, (1.0, 5.0)], [1] * 3, local=LR, lambda_learning_rate=0.0)
    federation.strategy.mixture = torch.tensor([0.0, 0.0, 1.0]).double()  # type: ignore[attr-defined]
    assert federation.round([0, 1], corrections={0: 1.0, 1: 3.0}) == close(0.25 * 0.1 - 0.75 * 0.2)


def test_where_only_clients_without_weight_have_answered_they_count_alike() -> None:
    """The client with all of the weight has failed; beside it the others have no influence at all."""
    federation = Federation("afl", [*TWO, (1.0, 5.0)], [1] * 3, local=LR, lambda_learning_rate=0.0)
    strategy = federation.strategy
    strategy.mixture = torch.tensor([0.0, 0.0, 1.0]).double()  # type: ignore[attr-defined]
    assert federation.round() == [0.5]
    strategy._weights = {0: 0.0, 1: 0.0, 2: 1.0}  # type: ignore[attr-defined]
    replies = []
    for client, y in ((0, 3.0), (1, 7.0)):
        reply = make_reply({"w": [y]}, 1, node_id=client + 2)
        reply.content["loss"] = record({"at-start": torch.tensor(1.0)})
        replies.append(reply)
    arrays, _ = strategy.aggregate_train(2, replies)
    assert arrays is not None
    assert to_tensors(arrays)["w"].tolist() == [5.0]


def test_the_largest_loss_is_minimised() -> None:
    federation = Federation("afl", [(1.0, 1.0), (1.0, -3.0)], [1, 1], counts=[9, 1], local=LR)
    for _ in range(250):
        (w,) = federation.round()
    assert w == pytest.approx(-1.0, abs=0.05)  # FedAvg's is 0.6


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8))
@settings(max_examples=50)
def test_the_projection_is_the_nearest_point(values: list[float]) -> None:
    point = torch.tensor(values, dtype=torch.float64)
    found = nearest_in_simplex(point)
    assert float(found.min()) >= 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-9)
    # No vertex of the simplex lies on the far side: (point - found) . (vertex - found) <= 0.
    rest = point - found
    assert float(rest.max() - (rest * found).sum()) <= 1e-9 * (1 + np.abs(values).max())
    torch.testing.assert_close(nearest_in_simplex(found), found, rtol=0, atol=1e-12)
