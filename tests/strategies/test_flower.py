"""The adapter of Flower's strategies: parameters go through them, all else is averaged as in FedAvg."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp.strategy import QFedAvg

from clients.registry import load_method
from common.errors import UserError
from common.records import ARRAYS, METRICS, PARTICIPATION_WEIGHT, Tensors, to_tensors
from strategies._flower import EVERYONE, FlowerStrategy
from strategies._flower_names import available_flower_strategies
from strategies._run_facts import RunFacts
from tests.strategies.messages import NodesOnly, make_reply, record

PARAMETERS = ("w", "b")
START = {"w": [1.0, 2.0], "bn.running_mean": [0.5], "bn.count": torch.tensor(3), "b": [0.25]}
REPLIES = (
    {"w": [2.0, 4.0], "bn.running_mean": [1.5], "bn.count": torch.tensor(5), "b": [1.25]},
    {"w": [0.0, 1.0], "bn.running_mean": [3.5], "bn.count": torch.tensor(9), "b": [0.75]},
)
EXAMPLES = (30, 10, 10)


def make(name: str, **parameters: Any) -> FlowerStrategy:
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    strategy = load_method(f"flwr:{name}", given).make_strategy()
    assert isinstance(strategy, FlowerStrategy)
    strategy.setup(RunFacts(2, PARAMETERS))
    return strategy


def run_round(
    strategy: FlowerStrategy,
    model: ArrayRecord,
    replies: tuple[Mapping[str, Any], ...] = REPLIES,
    server_round: int = 1,
    **metrics: Any,
) -> Tensors:
    """Run one round in which clients reply with these models; metrics are lists, a value per client."""
    list(strategy.configure_train(server_round, model, ConfigRecord(), NodesOnly([2, 3])))
    messages = []
    for index, (reply, examples) in enumerate(zip(replies, EXAMPLES, strict=False)):
        own = {name.replace("_", "-"): values[index] for name, values in metrics.items()}
        messages.append(make_reply(reply, examples, train_loss=0.5 + index, **own))
    arrays, _ = strategy.aggregate_train(server_round, messages)
    assert arrays is not None
    return to_tensors(arrays)


def test_a_message_has_the_whole_model_in_its_order() -> None:
    messages = list(make("FedAdam").configure_train(1, record(START), ConfigRecord(), NodesOnly([2, 3])))
    assert sorted(message.metadata.dst_node_id for message in messages) == [2, 3]
    for message in messages:
        assert list(message.content.array_records[ARRAYS]) == list(START)
        assert message.content.config_records["config"]["server-round"] == 1


@pytest.mark.parametrize("name", [name.removeprefix("flwr:") for name in available_flower_strategies()])
def test_statistics_and_counters_are_fedavgs(name: str) -> None:
    """The mean by examples, and that of the counters rounded down, whatever the strategy is."""
    required = {"client_learning_rate": 0.1, "weighting": "examples"} if name == "QFedAvg" else {}
    strategy = make(name, **required)
    model = run_round(strategy, record(START), (*REPLIES, REPLIES[1]))  # Bulyan needs three
    np.testing.assert_allclose(model["bn.running_mean"].item(), 0.6 * 1.5 + 0.4 * 3.5, rtol=1e-6)
    assert model["bn.count"].item() == 6  # 0.6 x 5 + 0.4 x 9 = 6.6
    assert model["bn.count"].dtype == torch.int64
    assert not any("bn" in key for key in str(vars(strategy.inner)).split("'"))


def test_fedadam_steps_on_the_parameters_by_its_formula() -> None:
    model = run_round(make("FedAdam", eta=0.1, beta_1=0.9, beta_2=0.99, tau=0.001), record(START))
    change = 0.75 * np.array([1.0, 2.0]) + 0.25 * np.array([-1.0, -1.0])
    rate = 0.1 * np.sqrt(1 - 0.99**2) / (1 - 0.9**2)  # Flower counts the first round as the second step
    expected = [1.0, 2.0] + rate * 0.1 * change / (np.sqrt(0.01 * change**2) + 0.001)
    np.testing.assert_allclose(model["w"].numpy(), expected, rtol=1e-6)


def test_momentum_is_of_the_parameters_alone() -> None:
    strategy = make("FedAvgM", server_learning_rate=0.5, server_momentum=0.9)
    model = run_round(strategy, record(START))
    change = 0.75 * np.array([1.0, 2.0]) + 0.25 * np.array([-1.0, -1.0])
    np.testing.assert_allclose(model["w"].numpy(), [1.0, 2.0] + 0.5 * change, rtol=1e-6)
    assert len(strategy.inner.momentum_vector) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["FedAvgM", "QFedAvg"])
def test_the_order_of_a_reply_has_no_say(name: str) -> None:
    """These pair the parameters of the server's model and of the clients' by position."""
    required = {"client_learning_rate": 0.1} if name == "QFedAvg" else {"server_momentum": 0.9}
    turned = tuple(dict(reversed(list(reply.items()))) for reply in REPLIES)
    expected = run_round(make(name, **required), record(START))
    model = run_round(make(name, **required), record(START), turned)
    assert all(torch.equal(model[key], expected[key]) for key in START)


@pytest.mark.parametrize("name", ["FedAvg", "FedAvgM"])
def test_weights_are_ours(name: str) -> None:
    """The correction of participation multiplies the examples, or stands alone with equal weights."""
    factors = [1.0, 6.0]
    model = run_round(make(name), record(START), **{PARTICIPATION_WEIGHT: factors})
    share = 60 / 90
    np.testing.assert_allclose(model["w"].numpy(), [2 - 2 * share, 4 - 3 * share], rtol=1e-6)
    np.testing.assert_allclose(model["bn.running_mean"].item(), 1.5 + 2 * share, rtol=1e-6)
    assert model["bn.count"].item() == 7  # 5 + 4 x 2 / 3
    model = run_round(make(name, weighting="uniform"), record(START))
    assert model["w"].tolist() == [1.0, 2.5]
    assert model["bn.running_mean"].tolist() == [2.5]


def test_multi_krum_weighs_those_that_it_selects() -> None:
    strategy = make("MultiKrum", num_nodes_to_select=2)
    assert run_round(strategy, record(START))["w"].tolist() == [1.5, 3.25]


class TestQFedAvg:
    def test_with_equal_weights_it_is_flowers(self) -> None:
        own = run_round(make("QFedAvg", client_learning_rate=0.1, q=0.5), record(START))
        flowers = QFedAvg(**EVERYONE, client_learning_rate=0.1, q=0.5)
        names = list(PARAMETERS)
        start = record({name: START[name] for name in names})
        list(flowers.configure_train(1, start, ConfigRecord(), NodesOnly([2, 3])))
        replies = [
            make_reply({name: reply[name] for name in names}, 10, train_loss=0.5 + index)
            for index, reply in enumerate(REPLIES)
        ]
        arrays, _ = flowers.aggregate_train(1, replies)
        assert arrays is not None
        for name, value in to_tensors(arrays).items():
            np.testing.assert_allclose(own[name].numpy(), value.numpy(), rtol=1e-6)

    def test_q_of_zero_is_the_weighted_mean(self) -> None:
        strategy = make("QFedAvg", client_learning_rate=0.1, q=0.0, weighting="examples")
        model = run_round(strategy, record(START))
        np.testing.assert_allclose(model["w"].numpy(), [1.5, 3.25], rtol=1e-6)

    def test_a_weight_of_two_is_two_clients(self) -> None:
        strategy = make("QFedAvg", client_learning_rate=0.1, q=0.5)
        weighted = run_round(strategy, record(START), **{PARTICIPATION_WEIGHT: [1.0, 2.0]})
        list(strategy.configure_train(2, record(START), ConfigRecord(), NodesOnly([2, 3, 4])))
        replies = [
            make_reply(REPLIES[index], 1, train_loss=0.5 + index, **{PARTICIPATION_WEIGHT: 1.0})
            for index in (0, 1, 1)
        ]
        arrays, _ = strategy.aggregate_train(2, replies)
        assert arrays is not None
        twice = to_tensors(arrays)
        for name in PARAMETERS:
            np.testing.assert_allclose(weighted[name].numpy(), twice[name].numpy(), rtol=1e-6)

    def test_a_metric_that_nobody_sends_is_one_line(self) -> None:
        strategy = make("QFedAvg", client_learning_rate=0.1)
        strategy.inner.train_loss_key = "loss"  # type: ignore[attr-defined]
        with pytest.raises(UserError, match=r"'flwr:QFedAvg' cannot aggregate: .*'loss'"):
            run_round(strategy, record(START))


def test_clients_may_measure_different_things() -> None:
    strategy = make("FedAvg")
    replies = [make_reply({}, 10, loss=1.0, accuracy_tail=0.5), make_reply({}, 30, loss=2.0)]
    measured = strategy.aggregate_evaluate(1, replies)
    assert measured is not None
    assert measured["loss"] == 1.75
    assert strategy.aggregate_evaluate(1, []) is None


def test_entries_that_stay_with_the_clients_are_not_missed() -> None:
    """Personal parts are neither in the model nor in the replies that a strategy sees."""
    strategy = make("FedAdam")
    strategy.setup(RunFacts(2, ["w"]))
    without = [{name: value for name, value in reply.items() if name != "b"} for reply in REPLIES]
    start = {name: value for name, value in START.items() if name != "b"}
    model = run_round(strategy, record(start), (without[0], without[1]))
    assert set(model) == set(start)


def test_a_reply_keeps_nothing_of_the_adapter_but_its_weight() -> None:
    reply: Message = make_reply(REPLIES[0], 30, train_loss=0.5)
    strategy = make("FedMedian")
    list(strategy.configure_train(1, record(START), ConfigRecord(), NodesOnly([2])))
    strategy.aggregate_train(1, [reply])
    assert reply.content.metric_records[METRICS]["num-examples"] == 30
