import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import Error, Message, MetricRecord
from safetensors.torch import load_file

from clients.local.worker import Worker
from common.errors import ClientFailureError, UserError
from common.records import CONFIG, METRICS, Payload, Tensors, metrics_record
from common.sections import Value
from runtimes.sequential import SequentialGrid
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg
from tests.clients.jobs import global_model
from tests.conftest import Runner, small_config
from tests.datasets.folders import write_image_folder


class TestStragglers:
    def test_kept_ones_do_less(self, run_small: Runner) -> None:
        options = {"stragglers__fraction": 0.9, "local__steps": 20, "clients__fraction": 1.0}
        steps = pd.read_csv(run_small("kept", **options) / "clients.csv")["steps"]
        assert len(steps) == 3 * 6
        assert 1 <= steps.min() < 20
        assert steps.mean() < 15

    def test_dropped_ones_are_not_called(self, run_small: Runner) -> None:
        options = {"stragglers__fraction": 0.5, "local__steps": 20, "clients__fraction": 1.0}
        clients = pd.read_csv(run_small("dropped", stragglers__policy="drop", **options) / "clients.csv")
        assert 0 < len(clients) < 3 * 6
        assert set(clients["steps"]) == {20}

    @pytest.mark.timeout(60)
    @pytest.mark.parametrize("method", ["fedavg", "flwr:FedMedian", "flwr:FedAdam"])
    def test_a_round_of_stragglers_leaves_the_model_as_it_is(self, run_small: Runner, method: str) -> None:
        options = {"stragglers__fraction": 0.999999, "stragglers__policy": "drop"}
        path = run_small("none", method__name=method, **options)
        rows = pd.read_csv(path / "metrics.csv")
        assert rows["clients"].loc[1:].tolist() == [0, 0, 0]
        assert rows["test_loss"].nunique() == 1


@pytest.mark.parametrize("method", ["ditto", "flwr:FedMedian"])
def test_a_client_whose_classes_are_not_tested_measures_nothing(
    method: str, run_small: Runner, tmp_path: Path
) -> None:
    write_image_folder(tmp_path / "data", {"a": 9, "b": 9, "c": 9}, {"a": 3, "b": 3})
    (tmp_path / "data" / "test" / "c").mkdir()
    path = run_small(
        method__name=method,
        model__name="linear",
        dataset__name="image-folder",
        dataset__root=str(tmp_path / "data"),
        partition__name="classes",
        partition__classes_per_client=1,
        clients__count=3,
        clients__evaluate_fraction=1.0,
    )
    measured = pd.read_csv(path / "evaluations.csv").groupby("round")["loss"].count()
    assert measured.tolist() == [2, 2, 2]
    assert pd.read_csv(path / "metrics.csv")["federated_accuracy"].loc[1:].between(0, 1).all()


def test_the_state_of_a_client_whose_reply_is_refused_is_in_the_checkpoint(run_small: Runner) -> None:
    class Spoiling(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for index, reply in enumerate(super().exchange(messages)):
                metrics = reply.content.metric_records.get(METRICS, {})
                if index == 0 and "train_loss" in metrics:
                    server_round = messages[0].content.config_records[CONFIG]["server-round"]
                    metrics["train_loss"] = metrics["train_loss"] if server_round > 2 else math.nan
                yield reply

    options = {"method__name": "fedper", "clients__fraction": 1.0, "failures__policy": "drop"}
    whole = run_small("whole", Spoiling, rounds=4, **options)
    run_small("parts", Spoiling, rounds=2, **options)
    parts = run_small("parts", Spoiling, rounds=4, run__resume=True, **options)
    assert pd.read_csv(whole / "metrics.csv")["failures"].tolist()[1:] == [1, 1, 0, 0]
    first, second = (load_file(path / "model.safetensors") for path in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_who_does_not_answer_before_a_round_is_not_in_it(run_small: Runner) -> None:
    """EPISODE would train such a client with a gradient that it does not have."""

    class Spoiling(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for index, reply in enumerate(super().exchange(messages)):
                if messages[0].metadata.message_type == "query.prelude" and index == 0:
                    yield Message(Error(0, "gone"), reply_to=messages[0])
                else:
                    yield reply

    options = {"method__name": "episode", "model__name": "linear", "clients__fraction": 1.0}
    path = run_small("run", Spoiling, failures__policy="drop", optimizer__name="sgd", **options)
    rows = pd.read_csv(path / "metrics.csv").loc[1:]
    assert rows["failures"].tolist() == [1, 1, 1]
    assert rows["clients"].tolist() == [5, 5, 5]
    assert 0 not in pd.read_csv(path / "clients.csv")["client_id"].tolist()


@pytest.mark.parametrize("policy", ["local", "recalibrate"])
def test_evaluation_changes_nothing(policy: str, run_small: Runner, batch_norm_model: str) -> None:
    options = {"batch_norm__policy": policy, "method__name": "scaffold", "model__name": batch_norm_model}
    options |= {"local__epochs": 0, "local__steps": 3}
    often = {"evaluate__every": 1, "clients__evaluate_fraction": 1.0}
    first = load_file(run_small("often", **options, **often) / "model.safetensors")
    second = load_file(run_small("once", **options, evaluate__every=9) / "model.safetensors")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("policy", ["average", "recalibrate"])
@pytest.mark.parametrize("optimizer", [{"optimizer__momentum": 0.9}, {"optimizer__name": "adamw"}], ids=str)
def test_a_learning_rate_of_zero_freezes_the_parameters(
    policy: str, optimizer: dict[str, Value], run_small: Runner, batch_norm_model: str
) -> None:
    """The first local step of a warm-up from 0, with weight decay; statistics of BatchNorm change alone."""
    steps: dict[str, Value] = {"local__epochs": 0, "local__steps": 1, "optimizer__weight_decay": 0.1}
    warmup: dict[str, Value] = {"schedule__warmup_steps": 5, "schedule__warmup_learning_rate": 0.0}
    run = {"rounds": 1, "model__name": batch_norm_model, "batch_norm__policy": policy, **steps, **optimizer}
    initial = Worker(small_config(**run)).initial_model
    frozen = load_file(run_small("frozen", **run, **warmup) / "model.safetensors")
    trained = load_file(run_small("trained", **run) / "model.safetensors")
    changed = [name for name in initial if not torch.equal(frozen[name], initial[name])]
    assert changed == ["bn.running_mean", "bn.running_var", "bn.num_batches_tracked"]
    assert not any(torch.equal(trained[name], initial[name]) for name in initial)


@pytest.mark.parametrize("method", ["fedavg", "scaffold", "localsgd"])
def test_the_numbers_of_the_clients_do_not_matter(method: str, run_small: Runner, tmp_path: Path) -> None:
    """With the same data for each, in steps that use all of them."""
    shares = np.split(np.random.default_rng(0).permutation(1437), [100, 300, 600, 1000])
    options = {
        "method__name": method, "model__name": "mlp", "clients__count": 5, "clients__fraction": 1.0,
        "partition__name": "hetero-fixed", "augmentation__name": "none", "local__batch_size": 2000,
        "local__epochs": 0, "local__steps": 3, "optimizer__learning_rate": 0.5,
    }  # fmt: skip
    models = []
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        file = tmp_path / f"{order[0]}.json"
        file.write_text(json.dumps([shares[client].tolist() for client in order]))
        models.append(
            load_file(run_small(file.stem, partition__file=str(file), **options) / "model.safetensors")
        )
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-6, atol=1e-6)


class TestPersonalParts:
    def test_only_the_shared_part_travels(self, run_small: Runner) -> None:
        whole = pd.read_csv(run_small("whole") / "metrics.csv")
        shared = pd.read_csv(run_small("shared", method__name="fedper") / "metrics.csv")
        head = 4 * (32 * 10 + 10) * 3  # bytes of the head, for three clients
        for column in ("bytes_down", "bytes_up"):
            assert (whole[column] - shared[column]).loc[1:].tolist() == [head] * 3
        alone = pd.read_csv(run_small("alone", method__name="local-only") / "metrics.csv")
        assert alone["bytes_down"].loc[1:].tolist() == alone["bytes_up"].loc[1:].tolist() == [0, 0, 0]

    def test_the_servers_head_stays_initial_and_the_body_does_not(self, run_small: Runner) -> None:
        model = load_file(run_small("run", method__name="fedper") / "model.safetensors")
        initial = global_model(small_config())
        assert torch.equal(model["classifier.weight"], initial["classifier.weight"])
        assert not torch.equal(model["fc1.weight"], initial["fc1.weight"])

    def test_all_personal_models_are_measured_at_the_end(self, run_small: Runner) -> None:
        path = run_small("run", method__name="fedper")
        rows = pd.read_csv(path / "metrics.csv").set_index("round")
        assert rows["personal_accuracy_macro"].notna().tolist() == [False, False, False, True]
        evaluations = pd.read_csv(path / "evaluations.csv")
        assert evaluations["client_id"].tolist() == list(range(6))
        assert evaluations["round"].unique().tolist() == [3]
        accuracies = evaluations["personal_accuracy"]
        assert rows["personal_accuracy_macro"][3] == pytest.approx(accuracies.mean(), abs=1e-5)
        assert rows["personal_accuracy_worst_decile"][3] == pytest.approx(accuracies.min(), abs=1e-5)
        summary = json.loads((path / "summary.json").read_text())
        assert summary["final.personal_accuracy_macro"] == pytest.approx(accuracies.mean(), abs=1e-5)

    @pytest.mark.parametrize("metric", ["test_accuracy", "train_loss"])
    def test_a_run_that_stops_early_is_evaluated_at_its_end(self, run_small: Runner, metric: str) -> None:
        target = {"test_accuracy": 0.01, "train_loss": 9.0}[metric]
        stop = {"stop__metric": metric, "stop__target": target, "evaluate__every": 2}
        path = run_small("run", method__name="ditto", rounds=5, **stop)
        rows = pd.read_csv(path / "metrics.csv").set_index("round")
        last = rows.index[-1]
        assert last < 5
        assert rows["personal_accuracy_macro"].notna().tolist() == [False] * last + [True]
        summary = json.loads((path / "summary.json").read_text())
        assert summary["stopped"]
        assert summary["final.test_accuracy"] == pytest.approx(rows["test_accuracy"][last], abs=1e-5)

    def test_where_clients_keep_the_whole_model_there_is_no_global_one_to_measure(
        self, run_small: Runner, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = run_small("run", method__name="local-only", clients__evaluate_fraction=1.0)
        assert "there is no global one" in capsys.readouterr().out
        rows = pd.read_csv(path / "metrics.csv").set_index("round")
        assert not {column for column in rows if column.startswith("test_")} & set(
            rows.dropna(axis=1, how="all")
        )
        summary = json.loads((path / "summary.json").read_text())
        assert not [key for key in summary if "test_" in key and key.startswith(("final", "best"))]
        assert summary["best.round"] == rows["personal_accuracy"].idxmax()

    @pytest.mark.parametrize(
        "looking",
        [
            {"stop__patience": 1, "stop__metric": "test_loss"},
            {"stop__target": 0.9, "stop__metric": "validation_accuracy", "dataset__validation_fraction": 0.1},
            {"steps__rule": "plateau", "local__steps": 4, "dataset__validation_fraction": 0.1},
        ],
    )
    def test_nothing_may_wait_for_a_global_model_that_is_not_there(
        self, looking: dict[str, Value], run_small: Runner
    ) -> None:
        with pytest.raises(UserError, match="looks at the global model, and clients of 'local-only' keep"):
            run_small("run", method__name="local-only", **looking)

    def test_the_sharpness_of_a_global_model_that_is_not_there_is_refused(self, run_small: Runner) -> None:
        with pytest.raises(UserError, match=r"^analysis\.sharpness-images = 8 would have no effect"):
            run_small("run", method__name="local-only", analysis__sharpness_images=8)

    def test_a_client_that_never_trained_has_the_initial_part(self, run_small: Runner) -> None:
        path = run_small("run", method__name="local-only", rounds=1, clients__fraction=0.2)
        trained = set(pd.read_csv(path / "clients.csv")["client_id"])
        losses = pd.read_csv(path / "evaluations.csv").set_index("client_id")["personal_loss"]
        assert len(trained) == 1
        untrained = [losses[client_id] for client_id in range(6) if client_id not in trained]
        assert untrained == pytest.approx([2.3] * 5, abs=0.25)
        assert len(set(untrained)) == 5  # one model, on the data of five clients


@pytest.mark.parametrize(("minutes", "committed"), [(1e-9, ["2", "3"]), (1000.0, ["3"]), (0.0, ["3"])])
def test_a_checkpoint_is_due_by_time_as_well(minutes: float, committed: list[str], run_small: Runner) -> None:
    path = run_small(checkpoint__every=1000, checkpoint__minutes=minutes)
    kept = sorted((path / "checkpoints").glob("round-*.json"))  # the last two are kept
    assert [file.stem.removeprefix("round-00000") for file in kept] == committed


def test_a_run_that_goes_on_has_not_finished(run_small: Runner) -> None:
    """Its summary would be taken for one of the rows that follow."""

    class Broken(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            is_training = messages[0].metadata.message_type == "train"
            for reply in super().exchange(messages):
                yield Message(Error(0, "gone"), reply_to=messages[0]) if is_training else reply

    summary = run_small("run", rounds=1) / "summary.json"
    before = summary.read_bytes()
    run_small("run", Broken, rounds=1, run__resume=True)
    assert json.loads(summary.read_bytes())["model_sha256"] == json.loads(before)["model_sha256"]
    with pytest.raises(ClientFailureError):
        run_small("run", Broken, rounds=2, run__resume=True)
    assert not summary.exists()


class ServerModel(FedAvg):
    """FedAvg that spoils a model of its own."""

    def setup(self, run: RunFacts) -> None:
        super().setup(run)
        self.make_model = run.make_model

    def update(self, averages: Payload, server_round: int) -> Tensors:
        model = self.make_model()
        assert model.state_dict().keys() == averages["arrays"].keys()
        assert not model.training
        for value in model.parameters():
            value.data.zero_()
        return averages["arrays"]


def test_a_strategy_may_compute_with_a_model_of_its_own(run_small: Runner) -> None:
    paths = [
        run_small(name, method__name=name) for name in ("tests.server.test_round_loop:ServerModel", "fedavg")
    ]
    first, second = (pd.read_csv(path / "metrics.csv")["test_loss"].tolist() for path in paths)
    assert first == second


class Aggregates(FedAvg):
    """Means of its own of what clients report: the median accuracy, the range of the losses in training."""

    looks = True

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> Any:
        kept = list(replies)
        losses = [float(metrics_record(reply.content)["train_loss"]) for reply in kept]  # type: ignore[arg-type]
        arrays, means = super().aggregate_train(server_round, kept)
        assert means is not None
        return arrays, MetricRecord(
            {**means, "train_loss": max(losses), "loss_range": max(losses) - min(losses)}
        )

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        if not self.looks:
            return None
        found = [metrics_record(reply.content)["accuracy"] for reply in replies]
        return MetricRecord({"accuracy": float(np.median(found)), "accuracy_max": float(np.max(found))})  # type: ignore[arg-type]


class Looks(Aggregates):
    looks = False


def test_what_a_strategy_aggregates_of_the_clients_metrics_is_in_the_row(run_small: Runner) -> None:
    options = {"rounds": 2, "clients__evaluate_fraction": 1.0, "clients__fraction": 1.0}
    plain = pd.read_csv(run_small("plain", **options) / "metrics.csv")
    path = run_small("own", method__name=f"{__name__}:Aggregates", **options)
    rows, trained = pd.read_csv(path / "metrics.csv"), pd.read_csv(path / "clients.csv")
    losses = trained.groupby("round")["loss"]
    measured = pd.read_csv(path / "evaluations.csv").groupby("round")["accuracy"]
    expected = {
        "train_loss": losses.max(),
        "loss_range": losses.max() - losses.min(),
        "federated_accuracy": measured.median(),
        "federated_accuracy_max": measured.max(),
    }
    for name, values in expected.items():  # the files have six digits
        assert rows[name].dropna().tolist() == pytest.approx(values.tolist(), abs=2e-5)
    assert rows["seconds"].min() > 0
    same = [
        name for name in plain if "seconds" not in name and name not in ("train_loss", "federated_accuracy")
    ]
    pd.testing.assert_frame_equal(rows[same], plain[same])
    assert set(rows) - set(plain) == {"loss_range", "federated_accuracy_max"}

    path = run_small("looks", method__name=f"{__name__}:Looks", **options)
    unseen = pd.read_csv(path / "metrics.csv")
    pd.testing.assert_series_equal(unseen["federated_accuracy"], plain["federated_accuracy"])
