"""Relations that hold for every method whose server reduces models alone, whatever the numbers are.

Which of them a server half has is declared by its ``REDUCTION``.
"""

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.registry import available_methods, load_method
from common.flower import assume_task_identity
from common.records import ARRAYS, Tensors, to_record, to_tensors
from strategies._asynchronous import Asynchronous
from strategies._decentralised import Decentralised
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg
from strategies.pfedhn import PFedHN
from tests.strategies.messages import NodesOnly


def is_plain(name: str) -> bool:
    """Return whether a server half needs nothing but the models of its clients, as it declares."""
    strategy = load_method(name, {}).make_strategy()
    assert isinstance(strategy, FedAvg)
    sends_one_model = type(strategy).build_messages is not PFedHN.build_messages
    has_one_model = sends_one_model and not isinstance(strategy, Asynchronous | Decentralised)
    return {ARRAYS} == strategy.SECTIONS and has_one_model and strategy.REDUCTION != "own"


PLAIN = list(filter(is_plain, available_methods()))


def reduce(method: str, start: Tensors, replies: list[tuple[Tensors, int]]) -> Tensors:
    assume_task_identity()
    strategy = load_method(method, {}).make_strategy()
    assert isinstance(strategy, FedAvg)
    sizes = torch.tensor([examples for _, examples in replies])
    ids = {index + 2: index for index in range(len(replies))}
    strategy.setup(
        RunFacts(
            10,
            list(start),
            num_examples=sizes,
            label_counts=sizes[:, None].expand(-1, 2),
            client_ids=ids,
        )
    )
    grid = NodesOnly(ids)
    sent = strategy.configure_train(1, to_record(start), ConfigRecord({"server-round": 1}), grid)
    messages = [
        Message(
            RecordDict(
                {
                    ARRAYS: to_record(model),
                    "metrics": MetricRecord({"num-examples": examples, "num-steps": 1, "learning-rate": 0.1}),
                }
            ),
            reply_to=message,
        )
        for (model, examples), message in zip(replies, sent, strict=True)
    ]
    arrays, _ = strategy.aggregate_train(1, messages)
    assert arrays is not None
    return to_tensors(arrays)


def advice(method: str, reduction: str) -> str:
    return f"if the server half of '{method}' is to do that, declare it: REDUCTION = {reduction}"


def point(*values: float) -> Tensors:
    return {"w": torch.tensor(values, dtype=torch.float64)}


numbers = st.floats(-10, 10, allow_nan=False).filter(lambda value: value == 0 or abs(value) > 1e-3)


@pytest.mark.parametrize("method", PLAIN)
@settings(max_examples=15)
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
    try:
        expected = reduce(method, start, replies)["w"]
    except Exception as error:
        pytest.fail(f"it needs more than models of two numbers ({error!r}); {advice(method, repr('own'))}")
    shuffled = data.draw(st.permutations(replies))
    scaled = [(model, scale * examples) for model, examples in replies]
    for others in (shuffled, scaled):
        found = reduce(method, start, others)["w"]
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), advice(method, "'own'")


AVERAGING = [name for name in PLAIN if load_method(name, {}).make_strategy().REDUCTION == "mean"]  # type: ignore[union-attr]


@pytest.mark.parametrize("method", AVERAGING)
def test_a_model_that_all_clients_send_is_the_result(method: str) -> None:
    same = point(3.25, -1.0)
    result = reduce(method, point(0.0, 0.0), [(same, 1), (same, 5), (same, 2)])
    assert torch.equal(result["w"], same["w"]), advice(method, "'step'")


def test_who_declares_another_reduction() -> None:
    others = {"feddyn", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "norm-bounding"}
    assert {*PLAIN} - {*AVERAGING} == others
