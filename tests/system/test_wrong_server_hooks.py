"""What a hook of somebody's own server half must not return or do: one line that names it."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message, MetricRecord

from common.errors import UserError
from common.records import to_payload, to_record, to_tensors
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg
from tests.system.own_methods import Hook, named, parameter, run

pytestmark = pytest.mark.usefixtures("no_pictures")


COUNT = itertools.count(1)


def metrics(value: Any) -> dict[str, Hook]:
    def update(self: FedAvg, averages: Any, server_round: int) -> Any:
        self.round_metrics = value
        return averages["arrays"]

    return {"update": update}


def averages(replies: Iterable[Message], weight: float) -> None:
    for reply in replies:
        WeightedAverage().add(to_payload(reply.content)["arrays"], weight)


def averaged(replies: Iterable[Message]) -> torch.Tensor:
    first, *_ = [to_payload(reply.content)["arrays"] for reply in replies]
    return first["classifier.weight"]


def changes(change: Callable[[torch.Tensor], torch.Tensor]) -> Hook:
    def aggregate_train(self: FedAvg, number: int, replies: Iterable[Message]) -> Any:
        arrays, means = FedAvg.aggregate_train(self, number, replies)
        assert arrays is not None
        return to_record({name: change(value) for name, value in to_tensors(arrays).items()}), means

    return aggregate_train


def reporting(own: dict[str, float]) -> Hook:
    def aggregate_train(self: FedAvg, number: int, replies: Iterable[Message]) -> Any:
        return FedAvg.aggregate_train(self, number, replies)[0], MetricRecord({**own})

    return aggregate_train


OF_SERVERS: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"build_messages": lambda self, content, kind, grid: None}, "messages of .* not None"),
    "contents": (
        {"build_messages": lambda self, content, kind, grid: [content for _ in grid.get_node_ids()]},
        "must be flwr.app.Message objects, and one is RecordDict",
    ),
    "a client less": (
        {"build_messages": lambda self, *given: FedAvg.build_messages(self, *given)[:1]},
        "must be one for each node .*: client 1 has none",
    ),
    "a message twice": (
        {"build_messages": lambda self, *given: FedAvg.build_messages(self, *given) * 2},
        "client 0 has two",
    ),
    "no pair": ({"aggregate_train": lambda self, number, replies: None}, "must be a pair .* not None"),
    "no look at replies": (
        {"aggregate_train": lambda self, number, replies: (None, None)},
        "made no model of the 0 replies of round 1: .*aggregate_train must look at all of them",
    ),
    "a weight below 0": (
        {"weight": lambda self, metrics: -1.0},
        r"Wrong\.weight returns must be a finite number, at least 0, not -1\.0",
    ),
    "no weights": ({"weight": lambda self, metrics: 0.0}, r"Wrong\.aggregate_train: no reply has a weight"),
    "a weight of its own": (
        {"aggregate_train": lambda self, number, replies: averages(replies, -1.0)},
        r"Wrong\.aggregate_train: a reply has the weight -1\.0",
    ),
    "a model of another shape": (
        {"aggregate_train": changes(lambda value: value[:1])},
        r"Wrong\.aggregate_train returns has 'classifier\.weight' of shape \(1, 64\), which is \(10, 64\)",
    ),
    "a model of integers": (
        {"aggregate_train": changes(lambda value: value.long())},
        r"Wrong\.aggregate_train returns has 'classifier\.weight' as int64: it must be floating-point",
    ),
    "a model with more": (
        {"aggregate_train": lambda self, number, replies: (to_record({"w": averaged(replies)}), None)},
        r"Wrong\.aggregate_train returns has 'w', which is not an entry of the model",
    ),
    "a training metric that is a column": (
        {"aggregate_train": reporting({"clients": 1.0})},
        "aggregate_train sets the column 'clients', which is there already",
    ),
    "a column of ours": (metrics({"test_accuracy": 1.0}), "'test_accuracy', which is there already"),
    "no number": (metrics({"gap": "x"}), "round_metrics sets the column 'gap' to 'x': it must be a number"),
    "no name": (metrics({"a,b": 1.0}), "the column 'a,b': a name begins with a letter"),
    "no columns": (metrics(None), "round_metrics must map names to numbers, and is None"),
    "a variant without a name": (
        {"variants": lambda self, model: {"": model}},
        "variants returns has the name ''",
    ),
    "the model itself": (
        {"broadcast": lambda self, number: {"arrays": self.global_model}},
        "broadcast returns has a section 'arrays', which is the model itself",
    ),
    "no text": ({"how_labels_leak": lambda self: True}, "how_labels_leak returns must be a text"),
    "no truth value": ({"measures_changes": lambda self: None}, "measures_changes returns must be True or"),
    "numbers cut off": (
        {"update": lambda self, means, number: {n: v.long() for n, v in means["arrays"].items()}},
        r"update returns has 'classifier.weight' as torch\.int64: it must be floating-point",
    ),
    "an entry of another shape": (
        {"update": lambda self, means, number: {n: v[:1] for n, v in means["arrays"].items()}},
        r"update returns has 'classifier.weight' of shape \(1, 64\)",
    ),
    "shapes that differ": (
        {"transform_reply": lambda self, sent: {**sent, "own": {"w": torch.zeros(next(COUNT))}}},
        r"'w' has the shape \(\d+,\) for a reply, and \(\d+,\) for an earlier one",
    ),
    "nobody": ({"cohort": lambda self, number: []}, "cohort returns is empty: name at least one client"),
    "no state": ({"state": lambda self: None}, r"Wrong\.state returns must be a mapping, not None"),
    "no super": ({"__init__": lambda self, **given: None}, r"Wrong\.__init__ must call super\(\)\.__init__"),
    "lost parameters": (
        {**parameter("mu", 0.5), "__init__": lambda self, **given: FedAvg.__init__(self)},
        r"Wrong\.__init__ must call super\(\)\.__init__",
    ),
    "taken name": (parameter("seed", 3), "'seed' of .* an attribute that every server half has"),
}


@pytest.mark.parametrize("case", OF_SERVERS)
def test_of_a_server_half(case: str, tmp_path: Path) -> None:
    hooks, expected = OF_SERVERS[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(FedAvg, hooks))


OF_AGGREGATED_EVALUATIONS: dict[str, tuple[Hook, str]] = {
    "no record": (
        lambda self, number, replies: {"spread": 1.0},
        r"Wrong\.aggregate_evaluate returns must be a MetricRecord, or None, not {'spread': 1\.0}",
    ),
    "a list": (
        lambda self, number, replies: MetricRecord({"spread": [1.0, 2.0]}),
        r"Wrong\.aggregate_evaluate returns has 'spread' as \[1\.0, 2\.0\]: it must be a single number",
    ),
    "no name": (
        lambda self, number, replies: MetricRecord({"a,b": 1.0}),
        r"Wrong\.aggregate_evaluate returns has the metric 'a,b': a name begins with a letter",
    ),
}


@pytest.mark.parametrize("case", OF_AGGREGATED_EVALUATIONS)
def test_of_aggregated_evaluations(case: str, tmp_path: Path) -> None:
    hook, expected = OF_AGGREGATED_EVALUATIONS[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(FedAvg, {"aggregate_evaluate": hook}), clients__evaluate_fraction=1.0)


def test_what_a_server_half_writes_into_the_model_that_it_is_given_stays_with_it(tmp_path: Path) -> None:
    """It gets copies: the global model and its evaluation are those of FedAvg."""

    def writes_into(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for value in values.values():
            value.zero_()
        return {}

    hooks = {
        "variants": lambda self, model: writes_into(model),
        "broadcast": lambda self, number: writes_into(self.global_model),
    }
    run(tmp_path / "own", named(FedAvg, hooks))
    run(tmp_path / "fedavg", "fedavg")
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("own", "fedavg")]
    assert [line.split(",")[:4] for line in rows[0]] == [line.split(",")[:4] for line in rows[1]]


def test_a_hook_that_leaves_out_super_loses_no_check_and_no_fact(tmp_path: Path) -> None:
    seen: list[int] = []
    hooks = {
        "check": lambda self, config: None,
        "setup": lambda self, facts: seen.append(self.num_clients),
    }
    run(tmp_path / "run", named(FedAvg, hooks))
    assert seen == [2]
    with pytest.raises(UserError, match=r"leave model\.sizes empty"):
        run(tmp_path / "sizes", named(FedAvg, hooks), model__name="hetero-cnn", model__sizes="0.5, 1.0")
