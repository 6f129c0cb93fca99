"""``evaluate.first`` and ``evaluate.precision``, and what is said of bfloat16."""

from collections.abc import Iterator
from typing import ClassVar

import pandas as pd
import pytest
import torch
from flwr.app import Message, MessageType
from safetensors.torch import load_file

import server.start_remarks
from common.records import ARRAYS, Tensors, to_tensors
from datasets.configured import open_dataset
from runtimes.run import make_grid
from runtimes.sequential import SequentialGrid
from server.checkpoints.checkpoint import CheckpointStore
from server.evaluation import CentralEvaluation
from server.personal_model import personal_models
from tests.conftest import Runner, small_config
from tests.system.commands import summary


def test_the_initial_model_need_not_be_evaluated(run_small: Runner) -> None:
    expected, path = run_small("first"), run_small("not-first", evaluate__first=False)
    rows = pd.read_csv(path / "metrics.csv").set_index("round")
    assert rows["test_accuracy"].isna().tolist() == [True, False, False, False]
    assert rows["test_loss"].isna().tolist() == [True, False, False, False]
    for key in ("model_sha256", "final.test_accuracy", "best.test_accuracy"):
        assert summary(path)[key] == summary(expected)[key]


def test_predictions_are_bfloat16s_and_training_is_not(run_small: Runner) -> None:
    options = {"clients__evaluate_fraction": 0.5}
    expected = summary(run_small("float32", **options))
    found = summary(run_small("bfloat16", **options, evaluate__precision="bfloat16"))
    assert found["model_sha256"] == expected["model_sha256"]
    for loss in ("final.test_loss", "final.federated_loss"):
        assert found[loss] != expected[loss]
        assert found[loss] == pytest.approx(expected[loss], rel=0.02)


class Watching(SequentialGrid):
    """Keeps the models that clients were last sent to evaluate."""

    evaluated: ClassVar[list[Tensors]] = []

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        if messages[0].metadata.message_type == MessageType.EVALUATE:
            self.evaluated[:] = [to_tensors(message.content.array_records[ARRAYS]) for message in messages]
        return super().exchange(messages)


@pytest.mark.parametrize("method", ["fedavg", "flwr:FedAvg"])
def test_clients_evaluate_the_model_that_is_saved(method: str, run_small: Runner) -> None:
    """With statistics estimated again, it has other buffers than the clients' mean."""
    keys = {"method__name": method, "batch_norm__policy": "recalibrate", "batch_norm__batches": 1}
    model = {"model__name": "stage-resnet", "model__blocks": "1-1-1-1", "model__width": 2}
    once = {"rounds": 1, "local__steps": 1, "local__epochs": 0, "clients__evaluate_fraction": 0.5}
    path = run_small("run", Watching, **keys, **model, **once)
    saved = load_file(path / "model.safetensors")
    assert len(Watching.evaluated) == 3
    for sent in Watching.evaluated:
        assert sent.keys() == saved.keys()
        assert all(torch.equal(value, saved[name]) for name, value in sent.items())


class WatchingAll(SequentialGrid):
    """Keeps how many batches the statistics of the models were estimated from that clients evaluate."""

    counts: ClassVar[dict[str, int]] = {}

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        if messages[0].metadata.message_type == MessageType.EVALUATE:
            for name, arrays in messages[0].content.array_records.items():
                self.counts[name] = int(to_tensors(arrays)["bn.num_batches_tracked"])
        return super().exchange(messages)


def test_all_models_that_clients_choose_from_have_statistics_of_the_same_kind(
    run_small: Runner, batch_norm_model: str
) -> None:
    """Otherwise the losses by which IFCA's clients choose would not compare."""
    keys = {"method__name": "ifca", "batch_norm__policy": "recalibrate", "batch_norm__batches": 2}
    once = {"rounds": 1, "local__steps": 5, "local__epochs": 0, "clients__evaluate_fraction": 0.5}
    run_small("run", WatchingAll, model__name=batch_norm_model, **keys, **once)
    assert WatchingAll.counts == {"arrays": 2, "cluster-1": 2}


def test_a_clients_model_that_is_taken_out_has_the_statistics_under_which_it_is_evaluated(
    run_small: Runner, batch_norm_model: str
) -> None:
    keys = {"method__name": "ifca", "batch_norm__policy": "recalibrate", "batch_norm__batches": 2}
    once = {"rounds": 1, "local__steps": 5, "local__epochs": 0, "model__name": batch_norm_model}
    run = run_small(**keys, **once)
    config = small_config(run, **keys, **once)
    with make_grid(config) as grid:
        checkpoint = CheckpointStore(run / "checkpoints").load_latest()
        assert checkpoint is not None
        [(_, model)] = personal_models(config, grid, checkpoint, [0])
    assert int(model["bn.num_batches_tracked"]) == 2


def test_models_without_their_personal_part_are_evaluated_as_they_are() -> None:
    config = small_config(batch_norm__policy="recalibrate", model__name="small-cnn", batch_norm__batches=1)
    evaluation = CentralEvaluation(config, open_dataset(config))
    whole = evaluation.initial_arrays()
    part = {name: array for name, array in whole.items() if "classifier" not in name}
    assert dict(evaluation.recalibrated(part)) == part
    assert evaluation.recalibrated(whole).keys() == whole.keys()


def test_sums_are_those_of_bfloat16_logits() -> None:
    config = small_config(evaluate__precision="bfloat16", model__name="linear")
    dataset = open_dataset(config)
    evaluation = CentralEvaluation(config, dataset)
    found = evaluation(evaluation.initial_arrays())
    inputs = evaluation._normalizer(dataset.test.inputs)
    linear = next(module for module in evaluation.model.modules() if isinstance(module, torch.nn.Linear))
    half = torch.bfloat16
    logits = torch.nn.functional.linear(
        inputs.flatten(1).to(half), linear.weight.to(half), linear.bias.to(half)
    )
    loss = torch.nn.functional.cross_entropy(logits.float(), dataset.test.targets)
    assert found["test_loss"] == pytest.approx(float(loss.detach()), rel=1e-6)


@pytest.mark.parametrize(("method", "said"), [("fedavg", True), ("fedper", False)])
def test_settings_for_tests_of_clients_without_any_are_named(
    method: str, said: bool, run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"clients__test_data": "training-distribution", "evaluate__groups": "counts"}
    run_small(rounds=1, method__name=method, evaluate__mask="none", **keys)
    out = capsys.readouterr().out
    for setting in ("clients.test-data = 'training-distribution'", "evaluate.mask = 'none'"):
        assert (f"{setting} has no effect: no client is evaluated" in out) == said


@pytest.mark.parametrize(("fast", "said"), [(True, False), (False, True), (None, False)])
def test_bfloat16_that_a_cpu_emulates_is_named(
    fast: bool | None,
    said: bool,
    run_small: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server.start_remarks, "has_fast_bfloat16", lambda: fast)
    run_small(rounds=1, device="cpu", local__precision="bfloat16", model__name="mlp")
    assert ("emulates local.precision = 'bfloat16'" in capsys.readouterr().out) == said
