"""Participation schemes in whole runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import ConfigRecord, Message
from torch import nn
from torch.nn import functional as F

from clients.base import Client
from clients.local.worker import Worker
from common.errors import ClientFailureError, UserError
from common.records import ARRAYS
from runtimes.replay import replay
from runtimes.sequential import SequentialGrid
from server.messages.replies import ReplyCheck
from server.observers import Round
from server.observers._feedback import Feeds
from server.participation import Participation
from server.participation._scheme import Feedback
from strategies.fedavg import FedAvg
from tests.clients.jobs import global_model, small
from tests.conftest import Runner, small_config
from tests.strategies.messages import NodesOnly, make_message, make_reply, record

POWER = {"participation__name": "power-of-choice", "participation__candidates": 5}


@pytest.fixture
def run_tiny(run_small: Runner) -> Runner:
    """As ``run_small``, one step of a linear model a client."""

    def run(*arguments: Any, **overrides: Any) -> Path:
        tiny = {
            "model__name": "linear",
            "local__epochs": 0,
            "local__steps": 1,
            "augmentation__name": "none",
        }
        return run_small(*arguments, **{**tiny, **overrides})

    return run


def cohorts(run_directory: Path) -> dict[int, list[int]]:
    return pd.read_csv(run_directory / "clients.csv").groupby("round")["client_id"].apply(list).to_dict()


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_methods_of_one_seed_share_their_cohorts(run_tiny: Runner) -> None:
    skewed = {"participation__name": "skewed", "participation__gamma": 0.3}
    runs = [
        run_tiny(method, method__name=method, **skewed) for method in ("fedavg", "scaffold", "flwr:FedAdam")
    ]
    assert cohorts(runs[0]) == cohorts(runs[1]) == cohorts(runs[2])
    assert cohorts(run_tiny("other", seed=1, **skewed)) != cohorts(runs[0])


def test_a_run_is_a_schedule_for_another(run_tiny: Runner) -> None:
    first = run_tiny("first", participation__name="skewed", participation__gamma=0.3)
    again = run_tiny("again", participation__name="schedule", participation__file=str(first / "clients.csv"))
    assert cohorts(again) == cohorts(first)
    assert model_hash(again) == model_hash(first)
    other = run_tiny(
        "other", participation__name="schedule", participation__file=str(first / "clients.csv"), seed=1
    )
    assert cohorts(other) == cohorts(first)
    assert model_hash(other) != model_hash(first)


@pytest.mark.parametrize("variant", ["pow-d", "cpow-d", "rpow-d"])
def test_power_of_choice_resumes_exactly(variant: str, run_tiny: Runner) -> None:
    options = {**POWER, "participation__variant": variant, "clients__fraction": 0.34}
    whole = run_tiny("whole", rounds=6, **options)
    run_tiny("parts", rounds=3, **options)
    parts = run_tiny("parts", rounds=6, run__resume=True, **options)
    assert cohorts(parts) == cohorts(whole)
    assert model_hash(parts) == model_hash(whole)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "oort"},
        {"name": "norm-proportional", "correction": "inverse-inclusion"},
        {"name": "clustered", "similarity": "updates", "correction": "inverse-inclusion"},
    ],
)
def test_what_follows_training_resumes_exactly(options: dict[str, str], run_tiny: Runner) -> None:
    given = {f"participation__{key}": value for key, value in options.items()}
    given |= {"clients__fraction": 0.34, "clock__spread": 1.0}
    whole = run_tiny("whole", rounds=6, **given)
    run_tiny("parts", rounds=3, **given)
    parts = run_tiny("parts", rounds=6, run__resume=True, **given)
    assert cohorts(parts) == cohorts(whole)
    assert model_hash(parts) == model_hash(whole)
    assert ("train_squared_loss" in pd.read_csv(whole / "metrics.csv")) == (options["name"] == "oort")


def test_oort_sees_the_squares_of_the_samples_losses(run_tiny: Runner) -> None:
    """One step of all samples: the loss of the initial model, alone and in a stack."""
    options = {"participation__name": "oort", "rounds": 1, "local__batch_size": 1000}
    found = [
        pd.read_csv(run_tiny(str(stack), runtime__stack=stack, **options) / "metrics.csv").iloc[1]
        for stack in (1, 6)
    ]
    assert found[0]["train_squared_loss"] == pytest.approx(found[1]["train_squared_loss"], rel=1e-5)
    assert found[0]["train_squared_loss"] > found[0]["train_loss"] ** 2


def test_changes_of_models_of_several_sizes_are_not_compared() -> None:
    config = small_config(participation__name="norm-proportional", model__sizes="width:1.0,width:0.5")
    parts = SimpleNamespace(config=config, participation=Participation(config))
    with pytest.raises(UserError, match="changes of whole models"):
        Feeds(parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["skewed", "target", "clustered"])
def test_a_run_with_corrected_weights(name: str, run_tiny: Runner) -> None:
    options = {"participation__name": name, "clients__fraction": 0.34, "rounds": 1}
    plain = run_tiny("plain", **options)
    corrected = run_tiny("corrected", **options, participation__correction="inverse-inclusion")
    assert cohorts(corrected) == cohorts(plain)
    assert model_hash(corrected) != model_hash(plain)


def test_running_statistics_are_no_part_of_a_change() -> None:
    seen: dict[int, Feedback] = {}
    parts = SimpleNamespace(
        config=small_config(participation__name="norm-proportional"),
        participation=SimpleNamespace(
            scheme=SimpleNamespace(remembers_updates=True),
            observe=lambda number, feedback: seen.update(feedback),
        ),
        evaluation=SimpleNamespace(model=nn.Linear(2, 1, bias=False)),
        clients=SimpleNamespace(client_ids={11: 1}, personal_names=()),
        strategy=FedAvg(),
    )
    feeds = Feeds(parts)  # type: ignore[arg-type]
    current = Round(1, messages={1: make_message(11)}, metrics={1: {"train_loss": 1.0}})
    current.messages[1].content[ARRAYS] = record({"weight": [[0.0, 0.0]], "running_var": [1.0]})
    reply = make_reply({"weight": [[3.0, 4.0]], "running_var": [99.0]}, 1, node_id=11)
    assert list(feeds.replies(current, [reply])) == [reply]
    feeds.on_train(current)
    assert seen[1].norm == 5


def test_the_checkpoint_holds_the_memory(run_tiny: Runner) -> None:
    run = run_tiny(**POWER, participation__variant="rpow-d")
    known = json.loads((run / "checkpoints" / "round-000003.json").read_text())["progress"]["participation"]
    clients = pd.read_csv(run / "clients.csv")
    last = clients.groupby("client_id")["loss"].last()
    assert {int(client): loss for client, loss in known.items()} == pytest.approx(last.to_dict(), rel=1e-5)


def test_the_worst_served_candidates_train(run_tiny: Runner) -> None:
    run = run_tiny(rounds=1, clients__fraction=0.34, **POWER, participation__variant="pow-d")
    everyone = run_tiny("all", rounds=1, clients__fraction=0.34, participation__name="power-of-choice",
                         participation__candidates=6)  # fmt: skip
    config = small(model__name="linear", clients__count=6)
    worker = Worker(config)
    model = global_model(config)
    losses = {client: expected_loss(worker, model, client) for client in range(6)}
    assert cohorts(everyone) == {1: sorted(sorted(losses, key=lambda client: -losses[client])[:2])}
    assert len(cohorts(run)[1]) == 2


def expected_loss(worker: Worker, model: dict[str, torch.Tensor], client: int) -> float:
    worker.load(model)
    worker.model.eval()
    samples = torch.from_numpy(worker.client_indices(client))
    with torch.no_grad():
        logits = worker.model(worker.normalizer(worker.train.inputs[samples]))
    return float(F.cross_entropy(logits.double(), worker.train.targets[samples]))


def query(worker: Worker, client: int, one_batch: bool, server_round: int = 1) -> float:
    config = ConfigRecord({"server-round": server_round, "one-batch": one_batch})
    reply = Client(worker, client).training_loss({ARRAYS: global_model(worker.config)}, config)
    assert reply["num-examples"] == len(worker.client_indices(client))
    return float(reply["loss"])


def test_the_loss_query() -> None:
    config = small(model__name="small-cnn", augmentation__name="crop-flip", evaluate__batch_size=17)
    worker = Worker(config)
    model = global_model(config)
    assert query(worker, 2, one_batch=False) == pytest.approx(expected_loss(worker, model, 2), rel=1e-5)
    # One batch of 16 of the client's samples: keyed by round and client, and unbiased.
    values = [query(worker, 2, True, server_round) for server_round in range(1, 60)]
    assert values[4] == query(worker, 2, True, 5)
    assert len(set(values)) > 50
    assert np.mean(values) == pytest.approx(expected_loss(worker, model, 2), rel=0.05)


def test_queries_are_paid_for(run_tiny: Runner) -> None:
    plain = pd.read_csv(run_tiny("plain") / "metrics.csv").set_index("round")["bytes_down"]
    asked = pd.read_csv(run_tiny("asked", **POWER) / "metrics.csv").set_index("round")["bytes_down"]
    assert asked[1] == plain[1] / 3 * (3 + 5)
    remembered = run_tiny("remembered", **POWER, participation__variant="rpow-d")
    assert pd.read_csv(remembered / "metrics.csv").set_index("round")["bytes_down"][1] == plain[1]


def test_power_of_choice_weighs_replies_alike_unless_told_otherwise(
    run_tiny: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    configure_train = FedAvg.configure_train

    def watch(strategy: FedAvg, *arguments: object) -> object:
        seen.append(strategy.weighting)
        return configure_train(strategy, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(FedAvg, "configure_train", watch)
    log = (run_tiny("uniform", rounds=1, **POWER) / "log.txt").read_text()
    assert "method.weighting is 'uniform'" in log
    run_tiny("examples", rounds=1, method__weighting="examples", **POWER)
    run_tiny("plain", rounds=1)
    assert seen == ["uniform", "examples", "examples"]


class Refusing(SequentialGrid):
    """Loses the replies of clients 0 and 3 to loss queries."""

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        for reply in super().exchange(messages):
            client = self.client_id(reply.metadata.src_node_id)
            if reply.metadata.message_type == "query.loss" and client in (0, 3):
                del reply.content.metric_records["metrics"]
            yield reply


def test_an_unanswered_query_ends_the_run_or_counts_as_a_failure(run_tiny: Runner) -> None:
    options = {"participation__name": "power-of-choice", "participation__candidates": 6}
    with pytest.raises(ClientFailureError, match="client 0 failed in round 1") as raised:
        run_tiny("raise", Refusing, **options)
    assert replay(Path(str(raised.value).rsplit("runtimes.replay ", 1)[1])) == 0
    run = run_tiny("drop", Refusing, failures__policy="drop", **options)
    assert not {0, 3} & set(pd.read_csv(run / "clients.csv")["client_id"])
    metrics = pd.read_csv(run / "metrics.csv").iloc[1:]
    assert metrics["failures"].tolist() == [2, 2, 2]
    assert metrics["clients"].tolist() == [3, 3, 3]
    with pytest.raises(ClientFailureError, match="2 of 6 clients failed"):
        run_tiny("too-many", Refusing, failures__policy="drop", failures__max_fraction=0.3, **options)


CORRECTED = {
    "participation__name": "skewed",
    "participation__gamma": 0.5,
    "participation__correction": "inverse-inclusion",
}


def test_the_correction_reaches_the_average() -> None:
    replies = [(1, make_reply({"w": [1.0]}, 100)), (4, make_reply({"w": [3.0]}, 300))]
    check = ReplyCheck([1, 4], dict.fromkeys([1, 4], record({"w": [0.0]})), False, {1: 6.0, 4: 1.0})
    strategy = FedAvg()
    strategy.configure_train(1, record({"w": [0.0]}), ConfigRecord(), NodesOnly([1, 4]))
    arrays, _ = strategy.aggregate_train(1, check.in_client_order(replies))
    assert arrays is not None
    # (6 * 100 * 1 + 1 * 300 * 3) / 900
    assert arrays["w"].numpy() == pytest.approx([1500 / 900])
    assert "participation-weight" not in check.metrics[1]


def test_the_correction_changes_the_model_but_not_the_cohorts(run_tiny: Runner) -> None:
    corrected = run_tiny("corrected", **CORRECTED)
    plain = run_tiny("plain", **{**CORRECTED, "participation__correction": "none"})
    assert cohorts(corrected) == cohorts(plain)
    assert model_hash(corrected) != model_hash(plain)
    # With equal inclusion the correction is a constant factor, which averages do not see.
    flat = {**CORRECTED, "participation__name": "skewed", "participation__gamma": 1e15,
            "clients__fraction": 1.0, "rounds": 1}  # fmt: skip
    assert model_hash(run_tiny("flat", **flat)) == model_hash(
        run_tiny("uniform", clients__fraction=1.0, rounds=1)
    )


def test_a_median_would_ignore_the_correction(run_tiny: Runner, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would ignore participation\.correction") as raised:
        run_tiny("flower", method__name="flwr:FedMedian", **CORRECTED)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "flower").exists()


def test_the_distribution_is_stored(run_tiny: Runner) -> None:
    table = pd.read_csv(run_tiny("skewed", **CORRECTED) / "participation.csv")
    assert list(table) == ["client_id", "probability", "inclusion"]
    assert table["probability"].sum() == pytest.approx(1)
    assert table["inclusion"].sum() == pytest.approx(3, abs=0.05)
    uniform = pd.read_csv(run_tiny("uniform") / "participation.csv")
    assert uniform["probability"].tolist() == [1 / 6] * 6
    assert uniform["inclusion"].tolist() == [0.5] * 6
    assert not (run_tiny("power", **POWER) / "participation.csv").exists()
