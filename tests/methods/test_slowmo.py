"""SlowMo in closed form, in float64, and its relation to server momentum."""

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from clients.registry import load_method
from common.flower import assume_task_identity
from common.records import ARRAYS, METRICS, Tensors, to_record, to_tensors
from strategies._equal_clients import EqualClients
from strategies._run_facts import RunFacts
from tests.methods.quadratics import LR, Federation
from tests.strategies.messages import NodesOnly

# f1 = (w - 1)^2 / 2 and f2 = 3 (w + 1)^2 / 2 from w = 0.
TWO = [(1.0, 1.0), (3.0, -1.0)]


MOMENTUM = {"optimizer.learning-rate": 0.1, "optimizer.momentum": 0.9}


def average_into(
    strategy: EqualClients, x: Tensors, server_round: int, rate: float, average: list[float]
) -> Tensors:
    """Let a strategy reduce one reply that is the average."""
    return reduced(strategy, x, server_round, [(1, 1, rate, average)])


def reduced(
    strategy: EqualClients, x: Tensors, server_round: int, replies: list[tuple[int, int, float, list[float]]]
) -> Tensors:
    """Let a strategy reduce the replies (examples, steps, mean rate of the steps, model) of its clients."""
    assume_task_identity()
    nodes = NodesOnly(range(2, 2 + len(replies)))
    messages = strategy.configure_train(server_round, to_record(x), ConfigRecord(), nodes)
    answers = []
    for message, (examples, steps, rate, model) in zip(messages, replies, strict=True):
        content = RecordDict({ARRAYS: to_record({"w": torch.tensor(model, dtype=torch.float64)})})
        content[METRICS] = MetricRecord({"num-examples": examples, "num-steps": steps, "learning-rate": rate})
        answers.append(Message(content, reply_to=message))
    arrays, _ = strategy.aggregate_train(server_round, answers)
    assert arrays is not None
    return {name: value.clone() for name, value in to_tensors(arrays).items()}


def test_slowmo_in_three_rounds() -> None:
    strategy = load_method("slowmo", {}).make_strategy()
    assert isinstance(strategy, EqualClients)
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


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(("weighting", "rate", "steps"), [("uniform", 0.225, 2.0), ("examples", 0.21, 2.5)])
def test_the_rate_is_the_mean_over_the_steps_of_all_clients(
    weighting: str, rate: float, steps: float, order: int
) -> None:
    """Steps along d at the rates 0.3, 0.2 and 0.1; a straggler takes the first one only."""
    strategy = load_method("slowmo", {"weighting": weighting}).make_strategy()
    assert isinstance(strategy, EqualClients)
    strategy.setup(RunFacts(2, ["w"]))
    x, d = {"w": torch.tensor([1.0, 2.0]).double()}, torch.tensor([2.0, -1.0]).double()
    replies = [(3, 3, 0.2, (x["w"] - 0.6 * d).tolist()), (1, 1, 0.3, (x["w"] - 0.3 * d).tolist())]
    for server_round, slow in ((1, steps), (2, 1.7 * steps)):  # u <- 0.7 u + (mean number of steps) d
        moved = reduced(strategy, x, server_round, replies[::order])
        assert strategy.learning_rate == pytest.approx(rate, rel=1e-12)
        assert moved["w"].tolist() == pytest.approx((x["w"] - rate * slow * d).tolist(), rel=1e-12)


def test_equal_rates_are_not_rounded() -> None:
    strategy = load_method("slowmo", {}).make_strategy()
    assert isinstance(strategy, EqualClients)
    strategy.setup(RunFacts(3, ["w"]))
    x = {"w": torch.zeros(1, dtype=torch.float64)}
    reduced(strategy, x, 1, [(1, steps, 0.1, [1.0]) for steps in (3, 7, 11)])
    assert strategy.learning_rate == 0.1


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
