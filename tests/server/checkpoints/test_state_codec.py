import functools
import json
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord
from safetensors.torch import load, save
from torch import nn

from clients.registry import load_method
from common.records import to_ndarray
from server.checkpoints.state_codec import UnsupportedStateError, capture_attributes, restore_attributes
from strategies._flower import FlowerStrategy
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg
from tests.strategies.messages import NodesOnly, make_reply, record


def through_disk(strategy: FedAvg, fresh: FedAvg) -> None:
    """Write a strategy's attributes as a checkpoint does and read them into another one."""
    tree, tensors = capture_attributes(strategy)
    content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    restore_attributes(fresh, json.loads(json.dumps(tree)), load(content))


def round_trip(value: Any) -> Any:
    strategy, fresh = FedAvg(), FedAvg()
    strategy.value = value  # type: ignore[attr-defined]
    through_disk(strategy, fresh)
    return fresh.value  # type: ignore[attr-defined]


def assert_same(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)
    elif isinstance(expected, np.ndarray | np.generic):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        assert actual.tobytes() == expected.tobytes()
    elif isinstance(expected, ArrayRecord):
        assert list(actual) == list(expected)
        for name, array in expected.items():
            assert_same(to_ndarray(actual[name]), to_ndarray(array))
    elif isinstance(expected, dict | ConfigRecord | MetricRecord):
        assert list(actual) == list(expected)
        assert [type(key) for key in actual] == [type(key) for key in expected]
        for key, value in expected.items():
            assert_same(actual[key], value)
    elif isinstance(expected, list | tuple):
        assert len(actual) == len(expected)
        for inner, value in zip(actual, expected, strict=True):
            assert_same(inner, value)
    else:
        assert actual == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -7,
        2**70,
        0.1,
        1e-323,
        float("inf"),
        "text / with :: signs",
        [],
        {},
        (),
        [1, [2.5, None], (True, "x")],
        {3: "int key", "3": "text key", -1: {"nested": {0: (1, 2)}}},
        {0: torch.tensor([1.0]), "0": torch.tensor([2.0])},
        {"a/b": torch.tensor(1), "a": {"b": torch.tensor(2)}},
        torch.tensor([[1.5, -0.0]], dtype=torch.float64),
        torch.tensor(3),
        torch.zeros(0, 2),
        torch.tensor([True, False]),
        [torch.tensor([1]), torch.tensor([2])],
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(5),
        np.float64(0.1),
        np.float32(0.1),
        np.int64(7),
        np.bool_(True),
        {"m": {"w": np.ones(2, np.float32)}, "v": [np.zeros(1)]},
        ArrayRecord({"w": Array(np.ones((2, 2), np.float32)), "n": Array(np.array(4))}),
        ArrayRecord(),
        ConfigRecord({"lr": 0.1, "name": "x", "flag": True}),
        MetricRecord({"loss": 0.5, "counts": [1, 2]}),
    ],
)
def test_data_make_the_round_trip(value: Any) -> None:
    assert_same(round_trip(value), value)


def test_a_numpy_scalar_promotes_as_before() -> None:
    # A Python float times a float32 array is float32; np.float64 makes it float64.
    assert (round_trip(np.float64(0.1)) * np.ones(1, np.float32)).dtype == np.float64


def test_nan_stays_nan() -> None:
    assert np.isnan(round_trip(float("nan")))


def test_views_and_layouts_are_written_by_value() -> None:
    base = torch.arange(12.0).view(3, 4)
    views = {"t": base.t(), "row": base[1], "again": base[1]}
    assert_same(round_trip(views), {name: value.clone() for name, value in views.items()})


def test_later_changes_do_not_reach_what_was_captured() -> None:
    strategy = FedAvg()
    strategy.tensor, strategy.array = torch.zeros(2), np.zeros(2)  # type: ignore[attr-defined]
    _, tensors = capture_attributes(strategy)
    strategy.tensor.fill_(1)  # type: ignore[attr-defined]
    strategy.array.fill(1)  # type: ignore[attr-defined]
    assert tensors["tensor"].tolist() == [0, 0]
    assert tensors["array"].tolist() == [0, 0]


def test_functions_and_transient_attributes_are_left_out() -> None:
    strategy = FedAvg(weighting="uniform")
    strategy.global_model = {"w": torch.ones(1)}
    for value in (len, lambda: 0, functools.partial(int, "3"), strategy.weight, FedAvg):
        strategy.function = value  # type: ignore[attr-defined]
        assert capture_attributes(strategy) == ({"weighting": "uniform"}, {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1, 2}, "'value' is of type set"),
        ({"inner": [object()]}, "'value/inner/0' is of type object"),
        (np.random.default_rng(0), "'value' is of type Generator"),
        (nn.Linear(1, 1), "'value' is of type Linear"),  # callable, and yet no function
        ({(1, 2): 3}, "'value' has .* of type tuple"),
        (b"bytes", "'value' is of type bytes"),
    ],
)
def test_what_cannot_be_written_is_named(value: Any, text: str) -> None:
    strategy = FedAvg()
    strategy.value = value  # type: ignore[attr-defined]
    with pytest.raises(UnsupportedStateError, match=text):
        capture_attributes(strategy)


class TestFlowersStrategies:
    @staticmethod
    def run_round(strategy: FedAvg, model: ArrayRecord, server_round: int) -> ArrayRecord:
        list(strategy.configure_train(server_round, model, ConfigRecord(), NodesOnly([2, 3, 4])))
        generator = np.random.default_rng(server_round)
        replies = [
            make_reply(
                {name: to_ndarray(array) + noise for name, array in model.items()}, examples, train_loss=0.5
            )
            for noise, examples in zip(
                generator.standard_normal(3).astype(np.float32), (5, 9, 2), strict=True
            )
        ]
        arrays, _ = strategy.aggregate_train(server_round, replies)
        assert arrays is not None
        return arrays

    @pytest.mark.parametrize(
        ("name", "parameters", "state"),
        [
            ("FedAvg", {}, ()),
            ("FedAdam", {"eta": 0.1}, ("m_t", "v_t")),
            ("FedYogi", {}, ("m_t", "v_t")),
            ("FedAdagrad", {}, ("m_t", "v_t")),
            ("FedAvgM", {"server-momentum": 0.9}, ("momentum_vector",)),
            ("QFedAvg", {"client-learning-rate": 0.1}, ()),
            ("Krum", {}, ()),
            ("FedMedian", {}, ()),
        ],
    )
    def test_a_restored_one_goes_on_with_the_same_bits(
        self, name: str, parameters: dict[str, Any], state: tuple[str, ...]
    ) -> None:
        def make() -> FlowerStrategy:
            strategy = load_method(f"flwr:{name}", parameters).make_strategy()
            assert isinstance(strategy, FlowerStrategy)
            strategy.setup(RunFacts(3, ["w", "b"]))
            return strategy

        strategy = make()
        model = record({"w": [[1.0, 2.0], [3.0, 4.0]], "b": 0.5})
        for server_round in (1, 2):
            model = self.run_round(strategy, model, server_round)
        restored = make()
        through_disk(strategy, restored)
        for attribute in state:
            assert getattr(strategy.inner, attribute)
            assert_same(getattr(restored.inner, attribute), getattr(strategy.inner, attribute))
        expected = self.run_round(strategy, model, 3)
        assert_same(self.run_round(restored, model, 3), expected)
        if state:
            forgetful = self.run_round(make(), model, 3)
            assert any(forgetful[key].data != expected[key].data for key in expected)
