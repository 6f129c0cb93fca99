"""``evaluate.first`` and ``evaluate.precision``, and what is said of bfloat16."""

import pandas as pd
import pytest
import torch

import server.experiment
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation
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


@pytest.mark.parametrize(
    ("fast", "overrides", "said"),
    [
        (True, {"model__name": "small-cnn"}, True),
        (False, {"model__name": "small-cnn"}, False),
        (True, {"model__name": "small-cnn", "local__precision": "bfloat16"}, False),
        (True, {"model__name": "mlp"}, False),
    ],
)
def test_bfloat16_is_named_once_where_it_pays(
    fast: bool,
    overrides: dict[str, str],
    said: bool,
    run_small: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server.experiment, "has_fast_bfloat16", lambda: fast)
    run_small(rounds=1, device="cpu", **overrides)
    assert capsys.readouterr().out.count("this CPU multiplies in bfloat16") == said


@pytest.mark.parametrize(("fast", "said"), [(True, False), (False, True), (None, False)])
def test_bfloat16_that_a_cpu_emulates_is_named(
    fast: bool | None,
    said: bool,
    run_small: Runner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server.experiment, "has_fast_bfloat16", lambda: fast)
    run_small(rounds=1, device="cpu", local__precision="bfloat16", model__name="mlp")
    assert ("emulates local.precision = 'bfloat16'" in capsys.readouterr().out) == said
