"""Local SGD and SlowMo in closed form, in float64, and as they relate to each other."""

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from clients.registry import load_method
from common.errors import UserError
from common.flower import assume_task_identity
from common.records import ARRAYS, METRICS, Tensors, to_record, to_tensors
from strategies._run_facts import RunFacts
from strategies._workers import Workers
from tests.methods.quadratics import Federation
from tests.strategies.messages import NodesOnly

# f1 = (w - 1)^2 / 2 and f2 = 3 (w + 1)^2 / 2 from w = 0.
TWO = [(1.0, 1.0), (3.0, -1.0)]
LR = {"optimizer.learning-rate": 0.1}
MOMENTUM = {"optimizer.learning-rate": 0.1, "optimizer.momentum": 0.9}


def rounds(federation: Federation, count: int) -> list[float]:
    return [federation.round()[0] for _ in range(count)]


def test_two_quadratics() -> None:
    assert rounds(Federation("localsgd", TWO, [2, 2], local=LR), 2) == pytest.approx(
        [-0.16, -0.264], abs=1e-12
    )
    limits = [rounds(Federation("localsgd", TWO, [h, h], local=LR), 200)[-1] for h in (2, 1)]
    assert limits == pytest.approx([-16 / 35, -0.5], abs=1e-9)


def test_two_workers_of_the_course() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0)]
    federation = Federation("localsgd", quadratics, [2, 2], counts=[1, 9], local=LR)
    assert rounds(federation, 2) == pytest.approx([-0.085, -0.146625], abs=1e-12)  # whatever the workers hold
    parallel = Federation("localsgd", quadratics, [1, 1], local=LR)
    assert rounds(parallel, 2)[-1] == pytest.approx(-0.0925, abs=1e-12)


@pytest.mark.parametrize(
    ("momentum", "steps", "expected"),
    [
        ("keep", 2, [-0.25, -0.5673, -0.675229]),
        ("average", 2, [-0.25, -0.597, -0.77845]),
        ("reset", 2, [-0.25, -0.3675, -0.422725]),
        ("keep", 1, [-0.1, -0.27, -0.469]),
        ("average", 1, [-0.1, -0.27, -0.469]),
        ("reset", 1, [-0.1, -0.18, -0.244]),
    ],
)
def test_what_becomes_of_momentum(momentum: str, steps: int, expected: list[float]) -> None:
    federation = Federation("localsgd", TWO, [steps, steps], local=MOMENTUM, momentum=momentum)
    assert rounds(federation, 3) == pytest.approx(expected, abs=1e-6)


def test_without_momentum_nothing_is_kept() -> None:
    kinds = [
        rounds(Federation("localsgd", TWO, [3, 3], local=LR, momentum=kind), 4)
        for kind in ("keep", "average", "reset")
    ]
    assert kinds[0] == kinds[1] == kinds[2]


@pytest.mark.parametrize("momentum", ["keep", "average"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_one_worker_is_its_optimiser_bit_for_bit(momentum: str, optimizer: str) -> None:
    local = {
        "optimizer.learning-rate": 0.1,
        "optimizer.name": optimizer,
        "optimizer.momentum": 0.9 if optimizer == "sgd" else 0.0,
    }
    one, many = (
        Federation("localsgd", [(2.0, [0.3, -0.7])], [h], start=[1.0, 5.0], local=local, momentum=momentum)
        for h in (1, 6)
    )
    w = torch.tensor([1.0, 5.0], dtype=torch.float64, requires_grad=True)
    plain = (
        torch.optim.SGD([w], lr=0.1, momentum=0.9, fused=True)
        if optimizer == "sgd"
        else torch.optim.AdamW([w], lr=0.1, weight_decay=0.0, fused=True)
    )
    for _ in range(12):
        plain.zero_grad()
        (2.0 / 2 * (w - torch.tensor([0.3, -0.7], dtype=torch.float64)) ** 2).sum().backward()
        plain.step()
    for _ in range(12):
        one.round()
    for _ in range(2):
        many.round()
    assert one.w.tolist() == many.w.tolist() == w.tolist()


def test_identical_workers_are_one() -> None:
    one, five = (
        Federation("localsgd", [(2.0, 0.5)] * k, [4] * k, start=[1.0], local=MOMENTUM) for k in (1, 5)
    )
    for _ in range(4):
        assert five.round() == pytest.approx(one.round(), abs=1e-14)


def test_phases_that_change_nothing_change_nothing() -> None:
    plain = Federation("localsgd", TWO, [3, 3], local=MOMENTUM)
    phased = Federation("localsgd", TWO, [3, 3], local={**MOMENTUM, "local.phases": "6,13"})
    for _ in range(6):
        assert phased.round() == plain.round()


def test_steps_and_rates_change_at_the_border() -> None:
    course = {"local.phases": "2:3", "schedule.phase-gamma": 0.5}
    federation = Federation("localsgd", [(1.0, 0.0)], [1], start=[1.0], local={**LR, **course})
    assert rounds(federation, 4) == pytest.approx(
        [0.9, 0.9**2, 0.9**2 * 0.95**3, 0.9**2 * 0.95**6], abs=1e-12
    )


def test_the_warm_up_goes_on_within_rounds() -> None:
    local = {"optimizer.learning-rate": 0.4, "schedule.warmup-learning-rate": 0.1, "schedule.warmup-steps": 6}
    one, many = (Federation("localsgd", [(1.0, 0.0)], [h], start=[1.0], local=local) for h in (1, 4))
    expected = 1.0
    for rate in (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.4):
        expected *= 1 - rate
    assert rounds(one, 8)[-1] == pytest.approx(expected, abs=1e-12)
    assert rounds(many, 2)[-1] == pytest.approx(expected, abs=1e-12)


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


def test_outer_optimisers_are_those_of_the_server_methods() -> None:
    for outer, method, rate, parameters in (
        ("momentum", "fedavgm", 0.7, {"beta": 0.8}),
        ("nesterov", "fedavgm", 0.7, {"beta": 0.8, "nesterov": True}),
        ("adam", "fedadam", 0.05, {"beta1": 0.8, "beta2": 0.95, "tau": 0.01}),
    ):
        given = {"outer_beta2": 0.95, "outer_tau": 0.01} if outer == "adam" else {}
        ours = Federation(
            "localsgd", TWO, [2, 2], local=LR, outer_optimizer=outer, outer_learning_rate=rate,
            outer_momentum=0.8, **given,
        )  # fmt: skip
        other = Federation(method, TWO, [2, 2], local=LR, server_learning_rate=rate, **parameters)  # type: ignore[arg-type]
        for _ in range(4):
            assert ours.round() == other.round()


def test_an_outer_optimiser_of_rate_one_without_momentum_is_the_mean() -> None:
    outer = Federation("localsgd", TWO, [2, 2], local=LR, outer_optimizer="nesterov", outer_momentum=0.0)
    plain = Federation("localsgd", TWO, [2, 2], local=LR)
    for _ in range(4):
        assert outer.round() == pytest.approx(plain.round(), abs=1e-14)


def test_rates_of_an_outer_optimiser_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"method\.outer-momentum needs"):
        load_method("localsgd", {"outer-momentum": 0.5}).make_strategy()
