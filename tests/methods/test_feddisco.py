"""FedDisco: its weights by hand, and what does not change them."""

import math

import pytest
import torch
from flwr.app import ConfigRecord

from clients.registry import load_method
from common.records import to_record, to_tensors
from strategies._run_facts import RunFacts
from strategies.feddisco import adjusted_weights, label_discrepancy
from tests.strategies.messages import NodesOnly, make_reply

COUNTS = torch.tensor([[5, 5], [10, 0], [12, 4]])


def test_discrepancies() -> None:
    assert label_discrepancy(COUNTS[:2], "kl").tolist() == [0.0, 1.0]  # shares of the round's sum
    quarter = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    shares = [0.0, math.log(2) / (math.log(2) + quarter), quarter / (math.log(2) + quarter)]
    assert label_discrepancy(COUNTS, "kl").tolist() == pytest.approx(shares, abs=1e-12)
    assert label_discrepancy(COUNTS, "l1").tolist() == pytest.approx([0.0, 1.0, 0.5])
    assert label_discrepancy(COUNTS, "l2").tolist() == pytest.approx([0.0, 0.5**0.5, 0.125**0.5])
    assert label_discrepancy(torch.full((3, 7), 3), "kl").tolist() == [0.0] * 3


def test_weights() -> None:
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert adjusted_weights(half, torch.tensor([0.0, 1.0]), 0.5, 0.1).tolist() == pytest.approx(
        [6 / 7, 1 / 7]
    )
    assert adjusted_weights(half, torch.tensor([0.0, 1.0]), 2.0, 0.1).tolist() == [1.0, 0.0]
    assert adjusted_weights(half, torch.tensor([2.0, 2.0]), 1.0, 0.0).tolist() == [0.5, 0.5]


def mean(
    cohort: list[int], models: list[float], corrections: list[float] | None = None, **keys: object
) -> float:
    """Return the average of models by the weights of a round."""
    grid = NodesOnly([client + 2 for client in cohort])
    strategy = load_method("feddisco", keys).make_strategy()
    ids = {client + 2: client for client in range(3)}
    strategy.setup(RunFacts(3, ["w"], label_counts=COUNTS, num_examples=COUNTS.sum(1), client_ids=ids))
    start = to_record({"w": torch.zeros(1)})
    list(strategy.configure_train(1, start, ConfigRecord({"server-round": 1}), grid))
    replies = []
    for index, (client, model) in enumerate(zip(cohort, models, strict=True)):
        extra = {"participation-weight": corrections[index]} if corrections else {}
        reply = make_reply({"w": [model]}, int(COUNTS[client].sum()), **extra)
        reply.metadata.__dict__["_src_node_id"] = client + 2
        replies.append(reply)
    arrays, _ = strategy.aggregate_train(1, replies)
    assert arrays is not None
    return float(to_tensors(arrays)["w"])


def test_a_round() -> None:
    assert mean([0, 1], [0.0, 7.0]) == pytest.approx(1.0)
    assert mean([1], [7.0]) == 7.0
    sizes = 10 * 1.0 + 10 * 2.0 + 16 * 4.0
    assert mean([0, 1, 2], [1.0, 2.0, 4.0], a=0.0, b=0.0) == pytest.approx(sizes / 36)
    assert mean([0, 1, 2], [1.0, 2.0, 4.0], a=0.0, weighting="uniform") == pytest.approx(7 / 3)


def test_a_correction_of_participation_comes_on_top() -> None:
    assert mean([0, 1], [0.0, 7.0], [1.0, 3.0]) == pytest.approx(7 * 3 / 9)
