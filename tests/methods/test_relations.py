"""Relations that hold whatever the numbers are."""

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.registry import available_methods, load_method
from common.flower import assume_task_identity
from common.records import ARRAYS, Tensors, to_record, to_tensors
from strategies._asynchronous import Asynchronous
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg
from tests.methods.quadratics import Federation
from tests.strategies.messages import NodesOnly


def is_plain(name: str) -> bool:
    """Tell whether a server half needs nothing but the models of its clients."""
    strategy = load_method(name, {}).make_strategy()
    assert isinstance(strategy, FedAvg)
    return {ARRAYS} == strategy.SECTIONS and not isinstance(strategy, Asynchronous)


PLAIN = list(filter(is_plain, available_methods()))
LR = {"optimizer.learning-rate": 0.1}


@pytest.mark.parametrize("method", ["fedavgm", "fedadagrad", "fedadam", "fedyogi"])
def test_server_optimisers_stay_where_nothing_changes(method: str) -> None:
    federation = Federation(method, [(0.0, 0.0), (0.0, 0.0)], [1, 1], start=[1.0, -2.0])
    for _ in range(3):
        assert federation.round() == [1.0, -2.0]


def test_the_first_round_of_scaffold_is_uniform_fedavg() -> None:
    quadratics, counts = [(1.0, 1.0), (2.0, -1.0)], [1, 9]
    scaffold = Federation("scaffold", quadratics, [3, 3], counts=counts, local=LR)
    average = Federation("fedavg", quadratics, [3, 3], counts=counts, local=LR, weighting="uniform")
    assert scaffold.round() == pytest.approx(average.round(), abs=1e-15)
    assert scaffold.round() != pytest.approx(average.round(), abs=1e-3)


def test_scaffold_corrects_nothing_between_identical_clients() -> None:
    scaffold, average = (
        Federation(name, [(2.0, 0.5)] * 3, [4] * 3, start=[1.0], local=LR) for name in ("scaffold", "fedavg")
    )
    for _ in range(4):
        assert scaffold.round() == pytest.approx(average.round(), abs=1e-12)
        control = scaffold.strategy.control["w"]  # type: ignore[attr-defined]
        for client in scaffold.clients:
            assert torch.allclose(client.state["control"]["w"], control, atol=1e-12)


def test_scaffold_with_wrong_initial_controls_would_be_seen() -> None:
    federation = Federation("scaffold", [(1.0, 1.0), (2.0, -1.0), (1.0, 3.0)], [2] * 3, local=LR)
    federation.round([0])
    assert federation.strategy.control["w"].item() == pytest.approx(-0.3166666667, abs=1e-9)  # type: ignore[attr-defined]


def test_local_steps_on_one_client_are_sgd() -> None:
    federation = Federation("fedavg", [(2.0, -1.0)], [3], start=[1.0], local=LR)
    w = 1.0
    for _ in range(2 * 3):
        w -= 0.1 * 2.0 * (w + 1.0)
    federation.round()
    assert federation.round() == pytest.approx([w], abs=1e-12)


def test_one_step_on_each_client_is_one_step_on_the_mean_gradient() -> None:
    quadratics = [(1.0, 1.0), (2.0, -1.0), (4.0, 0.5)]
    federation = Federation("fedavg", quadratics, [1] * 3, start=[2.0], local=LR)
    gradient = sum(h * (2.0 - b) for h, b in quadratics) / 3
    assert federation.round() == pytest.approx([2.0 - 0.1 * gradient], abs=1e-12)


def test_two_rounds_of_two_workers() -> None:
    federation = Federation("fedavg", [(1.0, 1.0), (2.0, -1.0)], [2, 2], local=LR)
    assert federation.round() == pytest.approx([-0.085], abs=1e-12)
    assert [federation.replies[i]["w"].item() for i in (0, 1)] == pytest.approx([0.19, -0.36], abs=1e-12)
    assert federation.round() == pytest.approx([-0.146625], abs=1e-12)


def reduce(method: str, start: Tensors, replies: list[tuple[Tensors, int]]) -> Tensors:
    assume_task_identity()
    strategy = load_method(method, {}).make_strategy()
    assert isinstance(strategy, FedAvg)
    strategy.setup(RunFacts(10, list(start)))
    grid = NodesOnly([index + 2 for index in range(len(replies))])
    sent = strategy.configure_train(1, to_record(start), ConfigRecord({"server-round": 1}), grid)
    messages = [
        Message(
            RecordDict(
                {
                    ARRAYS: to_record(model),
                    "metrics": MetricRecord({"num-examples": examples, "learning-rate": 0.1}),
                }
            ),
            reply_to=message,
        )
        for (model, examples), message in zip(replies, sent, strict=True)
    ]
    arrays, _ = strategy.aggregate_train(1, messages)
    assert arrays is not None
    return to_tensors(arrays)


def point(*values: float) -> Tensors:
    return {"w": torch.tensor(values, dtype=torch.float64)}


numbers = st.floats(-10, 10, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-3)


@pytest.mark.parametrize("method", PLAIN)
@settings(max_examples=15, deadline=None)
@given(
    models=st.lists(st.tuples(numbers, numbers, st.integers(1, 50)), min_size=2, max_size=5),
    scale=st.integers(2, 7),
    data=st.data(),
)
def test_neither_order_nor_scale_of_the_weights_matters(
    method: str, models: list[tuple[float, float, int]], scale: int, data: st.DataObject
) -> None:
    replies = [(point(x, y), examples) for x, y, examples in models]
    start = point(0.5, -0.5)
    expected = reduce(method, start, replies)["w"]
    shuffled = data.draw(st.permutations(replies))
    scaled = [(model, scale * examples) for model, examples in replies]
    for others in (shuffled, scaled):
        torch.testing.assert_close(reduce(method, start, others)["w"], expected, rtol=1e-9, atol=1e-9)


AVERAGING = [name for name in PLAIN if name not in ("feddyn", "fedavgm", "fedadagrad", "fedadam", "fedyogi")]


@pytest.mark.parametrize("method", AVERAGING)
def test_a_model_that_all_clients_send_is_the_result(method: str) -> None:
    same = point(3.25, -1.0)
    result = reduce(method, point(0.0, 0.0), [(same, 1), (same, 5), (same, 2)])
    assert torch.equal(result["w"], same["w"])
