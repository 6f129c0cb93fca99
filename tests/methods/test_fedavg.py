"""FedAvg: its messages and means, and local steps in closed form."""

import random

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord

from common.records import Payload, Tensors, to_tensors
from server.messages.replies import ReplyCheck
from strategies.fedavg import FedAvg
from tests.methods.quadratics import LR, Federation
from tests.strategies.messages import NodesOnly, make_reply, record


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


def aggregate(strategy: FedAvg, *replies: object) -> tuple[Tensors, MetricRecord]:
    arrays, metrics = strategy.aggregate_train(1, replies)  # type: ignore[arg-type]
    assert arrays is not None
    assert metrics is not None
    return to_tensors(arrays), metrics


class TestConfigure:
    def test_one_message_for_each_node_of_the_view(self) -> None:
        arrays, config = record({"w": [1.0, 2.0]}), ConfigRecord({"server-round": 3})
        messages = list(FedAvg().configure_train(3, arrays, config, NodesOnly([30, 10, 20])))
        assert [message.metadata.dst_node_id for message in messages] == [30, 10, 20]
        assert {message.metadata.message_type for message in messages} == {MessageType.TRAIN}
        for message in messages:
            assert set(message.content) == {"arrays", "config"}
            assert message.content.config_records["config"]["server-round"] == 3
            assert to_tensors(message.content.array_records["arrays"])["w"].tolist() == [1.0, 2.0]

    def test_all_messages_share_one_payload(self) -> None:
        messages = list(
            FedAvg().configure_train(1, record({"w": 1.0}), ConfigRecord(), NodesOnly(range(2, 50)))
        )
        assert len({id(message.content) for message in messages}) == 1

    def test_the_strategy_knows_the_model_that_went_down(self) -> None:
        strategy = FedAvg()
        strategy.configure_train(1, record({"w": [7.0]}), ConfigRecord(), NodesOnly([2]))
        assert strategy.global_model["w"].tolist() == [7.0]

    def test_sections_of_a_method_travel_beside_the_model(self) -> None:
        class WithControl(FedAvg):
            def broadcast(self, server_round: int) -> Payload:
                return {"control": {"w": torch.tensor([float(server_round)])}}

        (message,) = WithControl().configure_train(5, record({"w": [1.0]}), ConfigRecord(), NodesOnly([2]))
        assert to_tensors(message.content.array_records["control"])["w"].tolist() == [5.0]
        assert to_tensors(message.content.array_records["arrays"])["w"].tolist() == [1.0]

    def test_evaluation(self) -> None:
        messages = list(
            FedAvg().configure_evaluate(1, record({"w": [1.0]}), ConfigRecord(), NodesOnly([4, 5]))
        )
        assert [message.metadata.dst_node_id for message in messages] == [4, 5]
        assert {message.metadata.message_type for message in messages} == {MessageType.EVALUATE}


class TestAggregate:
    REPLIES = (
        make_reply({"y": [1.0, 2.0]}, 100, train_loss=1.0),
        make_reply({"y": [3.0, -1.0]}, 300, train_loss=2.0),
    )

    def test_by_examples(self) -> None:
        section, metrics = aggregate(FedAvg(), *self.REPLIES)
        assert section["y"].tolist() == [2.5, -0.25]
        assert section["y"].dtype == torch.float32
        assert metrics["train_loss"] == 1.75

    def test_uniform(self) -> None:
        section, metrics = aggregate(FedAvg(weighting="uniform"), *self.REPLIES)
        assert section["y"].tolist() == [2.0, 0.5]
        assert metrics["train_loss"] == 1.75  # a mean over examples, whatever the models' weights

    def test_replies_may_come_one_by_one(self) -> None:
        arrays, _ = FedAvg().aggregate_train(1, iter(self.REPLIES))
        assert arrays is not None
        assert to_tensors(arrays)["y"].tolist() == [2.5, -0.25]

    def test_no_reply_is_no_model(self) -> None:
        assert FedAvg().aggregate_train(1, []) == (None, None)
        assert FedAvg().aggregate_evaluate(1, []) is None

    def test_integer_buffers_keep_their_dtype_and_are_averaged_and_rounded_down(self) -> None:
        replies = [
            make_reply({"n": torch.tensor(count), "mean": [float(count)]}, examples)
            for count, examples in ((4, 100), (12, 300))
        ]
        section, _ = aggregate(FedAvg(), *replies)
        assert section["n"].dtype == torch.int64
        assert section["n"].item() == 10
        assert section["mean"].tolist() == [10.0]
        assert aggregate(FedAvg(weighting="uniform"), *replies)[0]["n"].item() == 8

    def test_every_section_is_averaged_and_update_decides(self) -> None:
        class WithControl(FedAvg):
            def update(self, averages: Payload, server_round: int) -> Tensors:
                return {"y": averages["arrays"]["y"] + server_round * averages["control"]["c"]}

        replies = [
            make_reply({"y": [y]}, examples, {"control": {"c": [c]}})
            for y, c, examples in ((1.0, 8.0, 1), (5.0, 4.0, 3))
        ]
        strategy = WithControl()
        strategy.global_model = {"y": torch.zeros(1)}
        arrays, _ = strategy.aggregate_train(10, replies)
        assert arrays is not None
        assert to_tensors(arrays)["y"].tolist() == [4.0 + 10 * 5.0]

    def test_evaluation_metrics_are_weighted_by_examples(self) -> None:
        replies = [make_reply({}, 1, loss=2.0, accuracy=0.0), make_reply({}, 3, loss=4.0, accuracy=1.0)]
        metrics = FedAvg().aggregate_evaluate(1, replies)
        assert metrics is not None
        assert (metrics["loss"], metrics["accuracy"]) == (3.5, 0.75)

    def test_metrics_without_examples_are_no_metrics(self) -> None:
        assert FedAvg().aggregate_evaluate(1, [make_reply({}, 0, loss=2.0)]) is None

    @pytest.mark.parametrize("seed", range(5))
    def test_the_order_of_arrival_changes_no_bit(self, seed: int) -> None:
        generator = np.random.default_rng(0)
        models = generator.standard_normal((9, 500))  # float64, where the order of a sum shows
        replies = [
            (
                client,
                make_reply({"y": model}, int(generator.integers(1, 1000)), train_loss=generator.random()),
            )
            for client, model in enumerate(models)
        ]
        reference = record({"y": models[0]})
        in_order, metrics = aggregate(FedAvg(), *[reply for _, reply in replies])
        random.Random(seed).shuffle(replies)
        unordered, _ = aggregate(FedAvg(), *[reply for _, reply in replies])
        assert not torch.equal(unordered["y"], in_order["y"])
        check = ReplyCheck(range(9), dict.fromkeys(range(9), reference), tolerate=False)
        section, shuffled_metrics = aggregate(FedAvg(), *check.in_client_order(replies))
        assert section["y"].numpy().tobytes() == in_order["y"].numpy().tobytes()
        assert shuffled_metrics == metrics


def test_a_strategy_knows_whose_prelude_it_weighs() -> None:
    class ByNode(FedAvg):
        def before_reply(self, reply: Message) -> None:
            self.node = reply.metadata.src_node_id

        def prelude_weight(self, metrics: MetricRecord) -> float:
            return float(self.node)

        def on_prelude(self, means: Payload, weight: float) -> None:
            self.mean, self.total = means["arrays"]["y"].item(), weight

    strategy = ByNode()
    strategy.aggregate_prelude(
        1, [make_reply({"y": [1.0]}, 1, node_id=1), make_reply({"y": [5.0]}, 1, node_id=3)]
    )
    assert (strategy.mean, strategy.total) == (4.0, 4.0)


def test_parameters_are_set_per_instance() -> None:
    assert FedAvg(weighting="uniform").weighting == "uniform"
    assert FedAvg().weighting == "examples"


def test_payloads_are_never_written_to() -> None:
    arrays = record({"y": [1.0, 2.0]})
    before = arrays["y"].data
    strategy = FedAvg()
    strategy.configure_train(1, arrays, ConfigRecord(), NodesOnly([2]))
    replies = TestAggregate.REPLIES
    data = [reply.content.array_records["arrays"]["y"].data for reply in replies]
    copies = [bytes(part) for part in data]
    strategy.aggregate_train(1, replies)
    assert arrays["y"].data == before
    assert [bytes(part) for part in data] == copies
    assert isinstance(arrays, ArrayRecord)
