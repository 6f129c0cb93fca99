"""SlowMo in closed form, in float64, and its relation to server momentum."""

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from clients.registry import load_method
from common.flower import assume_task_identity
from common.records import ARRAYS, METRICS, Tensors, to_record, to_tensors
from strategies._run_facts import RunFacts
from strategies._workers import Workers
from tests.methods.quadratics import LR, Federation
from tests.strategies.messages import NodesOnly

# f1 = (w - 1)^2 / 2 and f2 = 3 (w + 1)^2 / 2 from w = 0.
TWO = [(1.0, 1.0), (3.0, -1.0)]


MOMENTUM = {"optimizer.learning-rate": 0.1, "optimizer.momentum": 0.9}


def average_into(
    strategy: Workers, x: Tensors, server_round: int, rate: float, average: list[float]
) -> Tensors:
    """Let a strategy reduce one reply that is the average."""
    assume_task_identity()
    (message,) = strategy.configure_train(server_round, to_record(x), ConfigRecord(), NodesOnly([2]))
    content = RecordDict({ARRAYS: to_record({"w": torch.tensor(average, dtype=torch.float64)})})
    content[METRICS] = MetricRecord({"num-examples": 1, "learning-rate": rate})
    arrays, _ = strategy.aggregate_train(server_round, [Message(content, reply_to=message)])
    assert arrays is not None
    return {name: value.clone() for name, value in to_tensors(arrays).items()}


def test_slowmo_in_three_rounds() -> None:
    strategy = load_method("slowmo", {}).make_strategy()
    assert isinstance(strategy, Workers)
    strategy.setup(RunFacts(1, ["w"]))
    x = {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    for server_round, (rate, average, buffer, expected) in enumerate(
        [
            (0.1, [0.8, 2.1], [2.0, -1.0], [0.8, 2.1]),
            (0.1, [0.5, 2.0], [4.4, 0.3], [0.36, 2.07]),
            (0.05, [0.4, 1.9], [2.28, 3.61], [0.246, 1.8895]),
        ],
        1,
    ):
        x = average_into(strategy, x, server_round, rate, average)
        assert strategy.slow_buffer["w"].tolist() == pytest.approx(buffer, abs=1e-9)  # type: ignore[attr-defined]
        assert x["w"].tolist() == pytest.approx(expected, abs=1e-9)
    assert average_into(strategy, x, 4, 0.0, [0.246, 1.8895])["w"].tolist() == x["w"].tolist()


def test_slowmo_without_momentum_is_local_sgd() -> None:
    slow = Federation("slowmo", TWO, [3, 3], local=MOMENTUM, slow_momentum=0.0)
    plain = Federation("localsgd", TWO, [3, 3], local=MOMENTUM)
    for _ in range(5):
        assert slow.round() == pytest.approx(plain.round(), abs=1e-12)


def test_slowmo_at_a_constant_rate_is_server_momentum() -> None:
    slow = Federation("slowmo", TWO, [3, 3], local=LR, slow_momentum=0.6, slow_learning_rate=0.8)
    server = Federation("fedavgm", TWO, [3, 3], local=LR, beta=0.6, server_learning_rate=0.8)
    for _ in range(6):
        assert slow.round() == pytest.approx(server.round(), abs=1e-12)


def test_slowmo_weakens_with_the_rate_and_server_momentum_does_not() -> None:
    course = {**LR, "schedule.name": "step", "schedule.step-rounds": 1, "schedule.gamma": 0.1}
    slow = Federation("slowmo", TWO, [2, 2], local=course, slow_momentum=0.5)
    server = Federation("fedavgm", TWO, [2, 2], local=course, beta=0.5)
    assert slow.round() == pytest.approx(server.round(), abs=1e-12)
    first = slow.w.item()
    assert abs(slow.round()[0] - first) < 0.5 * abs(server.round()[0] - first)
