"""What a hook of somebody's own method must not return, do or declare: one line that names it."""

import itertools
import sys
import types
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from flwr.app import Message, MetricRecord
from pydantic import Field

from clients.app import app
from clients.base import Client
from clients.local.incoming import Section
from common.errors import ClientFailureError, UserError
from common.parameters import Needs
from common.records import to_payload, to_record, to_tensors
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from strategies._aggregation import WeightedAverage
from strategies.fedavg import FedAvg
from tests.conftest import small_config

pytestmark = pytest.mark.usefixtures("no_pictures")

Hook = Callable[..., Any]


def run(path: Path, method: str, **keys: Any) -> None:
    values = {
        "clients__count": 2,
        "clients__fraction": 1.0,
        "local__steps": 2,
        "rounds": 2,
        "model__name": "linear",
        **keys,
    }
    config = small_config(path, method__name=method, **values)
    run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), PlainLines())


def named(base: type, hooks: dict[str, Any]) -> str:
    """Return the ``method.name`` of a new class with these attributes, in a module of its own."""
    module = types.ModuleType(f"wrong_hooks_{sum(name.startswith('wrong_hooks_') for name in sys.modules)}")
    cls = type("Wrong", (base,), {**hooks, "__module__": module.__name__})
    vars(module).update(Wrong=cls, __file__=__file__, __spec__=ModuleSpec(module.__name__, None))
    sys.modules[module.__name__] = module
    return f"{module.__name__}:Wrong"


def writes(client: Client, params: dict[str, torch.Tensor]) -> None:
    for name in params:
        params[name] = 0 * params[name]


def rebinds(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    writes(client, params)
    return {}


def keeps_other(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    client.state["own"] = {"w": torch.zeros(2)}
    return {}


def returns(value: Any) -> Hook:
    return lambda self, received, config=None: value


def keeps_nothing_finite(client: Client, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    client.state["own"] = {"w": torch.tensor([float("nan")])}
    return {}


def parameter(name: str, value: Any) -> dict[str, Any]:
    return {name: value, "__annotations__": {name: type(value)}}


OF_CLIENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no truth value": ({"assumes_sgd": lambda self: "no"}, r"\.assumes_sgd returns must be True or False"),
    "no weight": ({"proximal_weight": property(lambda self: -1.0)}, r"\.proximal_weight must be a finite"),
    "validates by a value": ({"validate": lambda self: False}, "returns is not used, and is False"),
    "taken name": (parameter("learning_rate", 0.5), "'learning_rate' of Wrong .* that every client has"),
    "job that is none": (
        {"receives": lambda self: {"mean": Section(self.params, "train")}},
        "needed_for of the section 'mean' must be some of train,",
    ),
    "optimiser without state": (
        {"initial_optimizer": lambda self: {f"momentum_buffer/{n}": 0 * v for n, v in self.params.items()}},
        "has 'momentum_buffer/classifier.weight', which the optimiser does not keep",
    ),
    "optimiser's name first": (
        {"initial_optimizer": lambda self: {"classifier.bias": self.params["classifier.bias"]}},
        "has 'classifier.bias', which the optimiser does not keep",
    ),
    "no model's shape": (
        {"end_round": lambda self, params: {"arrays": {n: v[:1] for n, v in params.items()}}},
        r"end_round returns as 'arrays' has 'classifier.weight' as float32 of shape \(1, 64\): it must be",
    ),
    "taken section": (
        {"end_round": lambda self, params: {"metrics": {"w": torch.zeros(1)}}},
        "end_round returns has a section 'metrics', a name that is taken",
    ),
    "no name": (
        {"end_round": lambda self, params: {"own": {1: torch.zeros(1)}}},
        "section 'own' must be a mapping of names to tensors, and 1 is not a name",
    ),
    "no type of NumPy": (
        {"end_round": lambda self, params: {"own": {"w": torch.zeros(1, dtype=torch.bfloat16)}}},
        "end_round returns: 'w' of section 'own' is bfloat16 .* cannot be sent or kept",
    ),
    "another tensor at the end": ({"end_round": rebinds}, r"another tensor into params\['classifier.w"),
    "another tensor after a step": ({"after_step": writes}, "another tensor into params"),
    "new parameters": (
        {"after_step": lambda self, params: {n: 0 * v for n, v in params.items()}},
        "what .*<lambda> returns is not used",
    ),
    "other state than at first": (
        {"init_state": lambda self: {"own": {"w": torch.zeros(1)}}, "end_round": keeps_other},
        r"the state 'own' of Wrong has 'w' as float32 of shape \(2,\): it must be float32 of shape \(1,\)",
    ),
    "other state than the model's": (
        {"state_form": lambda self: {"own": self.worker.model_state}, "end_round": keeps_other},
        "the state 'own' of .* lacks 'classifier.weight'",
    ),
    "loss without the model": (
        {"loss": lambda self, params, batch: torch.zeros((), requires_grad=True)},
        r"\.loss returns does not depend on the model's parameters",
    ),
    "state that is not finite at first": (
        {"init_state": lambda self: {"own": {"w": torch.tensor([float("inf")])}}},
        r"Wrong\.init_state returns must be finite, and 'w' of section 'own' is not",
    ),
    "no pair": ({"train": returns(None)}, r"Wrong\.train returns must be a pair of .* not None"),
    "three": ({"train": returns(({}, {}, 0))}, r"Wrong\.train returns must be a pair of sections and"),
    "no sections": ({"train": returns(([1], {}))}, r"Wrong\.train returns must be a mapping of sections"),
    "no entry": (
        {"train": returns(({"arrays": {"classifier.wieght": torch.zeros(1)}}, {}))},
        r"Wrong\.train returns has 'classifier\.wieght', which is not an entry of the model; did you mean",
    ),
    "no metrics": ({"train": returns(({}, None))}, r"Wrong\.train returns as metrics must be a mapping of"),
    "no count": ({"train": returns(({}, {"a": 1.0}))}, r"Wrong\.train returns as metrics lacks"),
    "text": (
        {"train": returns(({}, {"num-examples": 1, "a": "b"}))},
        r"Wrong\.train returns as metrics must be a mapping of names to numbers, and 'a' is 'b'",
    ),
    "no end": ({"conclude": returns(None)}, r"Wrong\.conclude returns must be a pair of .* not None"),
    "no test": ({"test": returns(None)}, r"Wrong\.test returns must be a mapping of names to numbers, not"),
    "Flower's fit": (
        {"fit": lambda self, parameters, config: (parameters, 1, {})},
        r"Wrong\.fit would never be called: what a run calls is train",
    ),
    "loss that is not finite": (
        {"loss": lambda self, params, batch: Client.loss(self, params, batch) * float("nan")},
        r"\.loss returns must be finite, and is nan for the initial model",
    ),
    "device": (
        {"correct_gradients": lambda self, params, grads: {n: g.to("meta") for n, g in grads.items()}},
        "correct_gradients returns has 'classifier.weight' on meta: it must be on cpu",
    ),
}  # fmt: skip


@pytest.mark.parametrize("stack", [1, 2])
@pytest.mark.parametrize("case", OF_CLIENTS)
def test_of_a_client_half(case: str, stack: int, tmp_path: Path) -> None:
    hooks, expected = OF_CLIENTS[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(Client, hooks), runtime__stack=stack, clients__evaluate_fraction=1.0)


@pytest.mark.parametrize("stack", [1, 2])
def test_a_state_that_becomes_infinite_is_one_line(stack: int, tmp_path: Path) -> None:
    hooks = {"init_state": lambda self: {"own": {"w": torch.zeros(1)}}, "end_round": keeps_nothing_finite}
    with pytest.raises(ClientFailureError) as raised:
        run(tmp_path, named(Client, hooks), runtime__stack=stack)
    lines = str(raised.value).splitlines()
    assert lines[1] == (
        "the client's state 'own' is no longer finite in 'w', though its loss is: see Wrong.end_round"
    )
    assert lines[2].startswith("Most often a learning rate is too high")


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


OF_BOTH: dict[str, tuple[type, dict[str, Any], str]] = {
    "a key that has a default": (
        Client,
        {"DEFAULTS": {"local.batch-size": 8}},
        "'local.batch-size', which has",
    ),
    "a default of its own": (Client, {"DEFAULTS": {"method.mu": 8}}, "'method.mu', which has a default"),
    "an unknown key": (Client, {"DEFAULTS": {"model.Projection.x": 8}}, "the DEFAULTS of Wrong: unknown key"),
    "a need of nothing": (Client, {"NEEDS": {"mu": Needs("form")}}, "NEEDS names 'mu', which is not a"),
    "a default out of range": (
        FedAvg,
        {"mu": -1.0, "__annotations__": {"mu": Annotated[float, Field(gt=0)]}},
        r"the default of method\.mu in .* must be greater than 0, not -1\.0",
    ),
}


@pytest.mark.parametrize("case", OF_BOTH)
def test_of_a_declaration(case: str, tmp_path: Path) -> None:
    base, declared, expected = OF_BOTH[case]
    with pytest.raises(UserError, match=expected):
        run(tmp_path, named(base, declared))


def test_both_halves_have_the_same_default(tmp_path: Path) -> None:
    name = named(Client, parameter("mu", 0.5))
    module = sys.modules[name.partition(":")[0]]
    vars(module)["Server"] = type(
        "Server", (FedAvg,), {**parameter("mu", 0.1), "__module__": module.__name__}
    )
    with pytest.raises(UserError, match="the parameter 'mu' has another default in Server than in Wrong"):
        run(tmp_path, name)


def test_a_section_that_the_server_half_does_not_name_is_no_reply(tmp_path: Path) -> None:
    client = named(Client, {"end_round": lambda self, params: {"own": {"w": torch.zeros(1)}}})
    with pytest.raises(ClientFailureError, match=r"section 'own', which the server half .* in SECTIONS"):
        run(tmp_path, client)


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
