"""Privacy from the configuration to the run directory."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message

from clients.base import Client
from clients.local.training import train_locally
from clients.registry import available_methods, load_method
from common.errors import UserError
from runtimes.sequential import SequentialGrid
from server.participation._scheme import Facts, SelectionContext
from server.participation.power_of_choice import PowerOfChoice
from server.records.progress import PlainLines
from strategies._privacy_accounting import Accountant
from tests.conftest import Runner, model_for

FIXED = {"privacy__clipping": "fixed", "privacy__noise_multiplier": 0.5, "privacy__clip_norm": 0.5}
ADAPTIVE = {**FIXED, "privacy__clipping": "adaptive", "privacy__count_noise": 1.0}
MODEL = {"model__name": "mlp", "augmentation__name": "none"}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Collect the rows of all runs."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(PlainLines, "show", lambda self, row: shown.append(dict(row)))
    return shown


def summary(run_directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run_directory / "summary.json").read_text())
    return content


def test_epsilon_stands_in_every_row_and_in_the_summary(
    run_small: Runner, rows: list[dict[str, Any]]
) -> None:
    result = summary(run_small(**FIXED, **MODEL))
    accountant = Accountant(0.5, 3, 6, True, "replace-one", 1e-5)
    assert [row["epsilon"] for row in rows] == [accountant.epsilon(t) for t in range(4)]
    assert (result["epsilon"], result["delta"]) == (accountant.epsilon(3), 1e-5)
    assert all(row["clip_norm"] == 0.5 and 0 <= row["clipped_fraction"] <= 1 for row in rows[1:])


@pytest.mark.parametrize("method", ["fedavg", "fedadam"])
def test_resume_has_the_same_bits_with_adaptive_clipping_and_noise(
    method: str, run_small: Runner, rows: list[dict[str, Any]]
) -> None:
    options = {**ADAPTIVE, **MODEL, "method__name": method}
    whole = summary(run_small("whole", rounds=6, **options))
    expected = [row["clip_norm"] for row in rows[1:]]
    assert len(set(expected)) == 6
    rows.clear()
    run_small("parts", rounds=3, **options)
    parts = summary(run_small("parts", rounds=6, run__resume=True, **options))
    assert parts["model_sha256"] == whole["model_sha256"]
    assert [row["clip_norm"] for row in rows[1:]] == expected
    assert parts["epsilon"] == whole["epsilon"] == rows[-1]["epsilon"]


def test_failures_do_not_lower_the_noise(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]
) -> None:
    def fail_or_stand_still(client: Client) -> tuple[int, float]:
        if client.client_id % 2:
            raise ArithmeticError("planted")
        _, loss = train_locally(client)
        client.worker.load(client.received["arrays"])
        return 1, loss

    monkeypatch.setattr("clients.base.train_locally", fail_or_stand_still)
    models: list[torch.Tensor] = []

    def remember(self: Any, arrays: Any, *variants: Any) -> dict[str, float]:
        from common.records import to_tensors

        models.append(torch.cat([v.double().flatten() for v in to_tensors(arrays).values()]))
        return {"test_loss": 0.0, "test_accuracy": 0.0}

    monkeypatch.setattr("server.evaluation.CentralEvaluation.__call__", remember)
    run_small(
        **FIXED, **MODEL, clients__fraction=1.0, rounds=1, failures__policy="drop", failures__max_fraction=0.5
    )
    assert (rows[1]["clients"], rows[1]["failures"]) == (3, 3)
    assert (models[1] - models[0]).std().item() == pytest.approx(0.5 * 0.5 / 6, rel=0.03)


def test_clipping_without_noise_has_no_epsilon(
    run_small: Runner, rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    result = summary(run_small(**{**FIXED, "privacy__noise_multiplier": 0.0}, **MODEL))
    assert "epsilon" not in result
    assert "epsilon" not in rows[-1]
    assert "without noise there is no privacy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method__name": "scaffold"}, "whose clients send .control. in addition to the model"),
        ({"method__name": "fednova"}, "whose clients send .effort. in addition to the model"),
        ({"method__name": "heteroavg"}, "does not cover 'heteroavg', whose clients have models of several"),
        ({"method__name": "flwr:FedMedian"}, "does not cover 'flwr:FedMedian'"),
        ({"model__name": "resnet20"}, "the running statistics of model 'resnet20'"),
        ({"privacy__clipping": "off"}, "privacy.noise-multiplier needs privacy.clipping"),
        ({"privacy__clip_norm": 0.0}, "privacy.clip-norm must be greater than 0"),
        ({"privacy__delta": 1.0}, "privacy.delta must be less than 1"),
        ({"privacy__relation": "replace"}, "privacy.relation must be 'replace-one' or 'zero-out'"),
        ({"participation__name": "loss-proportional"}, "no epsilon for participation 'loss-proportional'"),
        (
            {"participation__name": "power-of-choice", "participation__variant": "rpow-d"},
            "no epsilon for participation 'power-of-choice'",
        ),
        (
            {"participation__name": "skewed", "participation__correction": "inverse-inclusion"},
            "which participation.correction would change",
        ),
        ({"privacy__clipping": "adaptive"}, "privacy.count-noise above 0.25, not 0.15"),
        *[
            (
                {
                    "privacy__relation": "zero-out",
                    "participation__name": "power-of-choice",
                    "participation__variant": variant,
                    "participation__candidates": candidates,
                },
                "no epsilon for privacy.relation = 'zero-out' with participation 'power-of-choice'",
            )
            for variant in ("pow-d", "cpow-d")
            for candidates in (0, 3)  # with as many as the cohort, cohorts still follow the clients' sizes
        ],
        ({"participation__name": "target"}, "no epsilon for participation 'target'"),
        (
            {"participation__name": "periodic", "participation__group_size": 3},
            "one planned size of all cohorts",
        ),
        ({"stop__metric": "train_loss", "stop__target": 0.1}, "no epsilon for stop.metric = 'train_loss'"),
        ({"stop__metric": "train_loss", "stop__patience": 2}, "no epsilon for stop.metric = 'train_loss'"),
        (
            {"steps__rule": "adacomm", "local__epochs": 0, "local__steps": 2, "schedule__name": "constant"},
            "no epsilon for steps.rule = 'adacomm'",
        ),
        (
            {"steps__rule": "drift", "local__epochs": 0, "local__steps": 2, "schedule__name": "constant"},
            "no epsilon for steps.rule = 'drift'",
        ),
        (
            {"local__sampling": "shuffle", "local__epochs": 0, "local__steps": 2},
            "no epsilon for local.sampling = 'shuffle'",
        ),
        (
            {"local__sampling": "replacement", "local__epochs": 0, "local__steps": 2},
            "no epsilon for local.sampling = 'replacement'",
        ),
        ({"dataset__feature_noise": 0.5}, "no epsilon for dataset.feature-noise"),
        (
            {"method__name": "balanced-softmax", "method__prior": "global"},
            "no epsilon for method.prior = 'global'",
        ),
        ({"method__name": "ratio-loss"}, "no epsilon for 'ratio-loss' without dataset.validation-fraction"),
    ],
)
def test_what_privacy_does_not_cover_is_refused_before_training(
    options: dict[str, Any], message: str, run_small: Runner, tmp_path: Path
) -> None:
    class NeverUsed:
        def __init__(self, *arguments: Any) -> None:
            pass

        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            raise AssertionError("a message was sent")

    with pytest.raises(UserError, match=message) as caught:
        run_small("refused", NeverUsed, **{**FIXED, **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "refused").exists()


def test_validation_data_of_the_data_sets_own_leak_nothing(run_small: Runner, tmp_path: Path) -> None:
    table = "x,y\n" + "".join(f"{number % 7},{number % 2}\n" for number in range(60))
    for file in ("with/train", "with/test", "with/validation", "without/train", "without/test"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / f"{file}.csv").write_text(table)
    options: dict[str, Any] = {
        "dataset__name": "csv",
        "partition__name": "iid",
        "method__name": "ratio-loss",
        "rounds": 1,
    }
    options |= {**FIXED, "model__name": "linear", "augmentation__name": "none"}
    assert summary(run_small("a", dataset__root=str(tmp_path / "with"), **options))["epsilon"] > 0
    with pytest.raises(UserError, match=r"no epsilon for 'ratio-loss' without dataset\.validation-fraction"):
        run_small("b", dataset__root=str(tmp_path / "without"), **options)


@pytest.mark.parametrize("method", ["moon", "fedper", "feddyn"])
def test_state_and_cohorts_that_follow_data_do_not_go_together(method: str, run_small: Runner) -> None:
    options = {**FIXED, **MODEL, "participation__name": "power-of-choice", "method__name": method}
    with pytest.raises(UserError, match=f"clients that keep state, as those of '{method}' do here"):
        run_small(**options)
    run_small("clipped", **{**options, "privacy__noise_multiplier": 0.0, "rounds": 1})


@pytest.mark.parametrize(
    ("options", "amplified", "relation"),
    [
        ({}, True, "replace-one"),
        ({"privacy__relation": "zero-out"}, False, "zero-out"),
        ({"participation__name": "skewed"}, False, "replace-one"),
        ({"participation__name": "skewed", "privacy__relation": "zero-out"}, False, "zero-out"),
        ({"participation__name": "power-of-choice"}, False, "replace-one"),
        ({"method__name": "ratio-loss", "dataset__validation_fraction": 0.1}, True, "replace-one"),
        ({"method__name": "balanced-softmax"}, True, "replace-one"),
        ({"method__name": "moon", "participation__name": "skewed"}, False, "replace-one"),
        ({"method__weighting": "examples"}, True, "replace-one"),
    ],
)
def test_the_guarantee_of_each_pair_that_holds(
    options: dict[str, Any], amplified: bool, relation: Any, run_small: Runner
) -> None:
    result = summary(run_small(**{**FIXED, **MODEL, "rounds": 2, **options}))
    assert result["epsilon"] == Accountant(0.5, 3, 6, amplified, relation, 1e-5).epsilon(2)


def test_one_clients_loss_and_size_change_one_member_of_a_cohort_at_most() -> None:
    """What replace-one needs of power-of-choice: the sum of the cohort moves by 2 S."""
    generator = np.random.default_rng(0)
    for trial in range(300):
        sizes, losses = generator.integers(0, 50, 8), generator.random(8)
        other_sizes, other_losses = sizes.copy(), losses.copy()
        other_sizes[3], other_losses[3] = generator.integers(0, 50), generator.random()
        cohorts = []
        for n, values in ((sizes, losses), (other_sizes, other_losses)):
            scheme = PowerOfChoice(candidates=5)
            scheme.begin_run(Facts(8, 3, 1, np.random.default_rng(trial)))
            ask = functools.partial(lambda values, clients, _: {c: values[c] for c in clients}, values)
            context = SelectionContext(1, 8, 3, np.random.default_rng(trial), n, {}, ask)
            cohorts.append(set(scheme.select(context)))
        assert len(cohorts[0] - cohorts[1]) <= 1


def test_cohorts_of_a_file_have_no_planned_size(run_small: Runner, tmp_path: Path) -> None:
    # The mean would be divided by clients.fraction's cohort, which a schedule does not heed.
    (tmp_path / "cohorts.json").write_text("[[0, 1], [2, 3], [4, 5]]")
    schedule = {"participation__name": "schedule", "participation__file": str(tmp_path / "cohorts.json")}
    with pytest.raises(UserError, match="one planned size of all cohorts"):
        run_small("refused", **schedule, **FIXED, **MODEL)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("method", available_methods())
def test_methods_declare_the_sections_of_their_replies(method: str, run_small: Runner) -> None:
    sections: set[str] = set()

    class Watching(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for reply in super().exchange(messages):
                if "arrays" in messages[0].content.array_records:
                    sections.update(reply.content.array_records)
                yield reply

    run_small("run", Watching, rounds=1, method__name=method, **{"model__name": "mlp", **model_for(method)})
    declared = load_method(method, {}).make_strategy().SECTIONS
    assert sections <= declared
    assert declared - sections <= {"optimizer"}  # sent if there is a state of it, which this run has not


@pytest.mark.parametrize("method", ["fedprox", "fedavgm", "fedyogi", "fedadagrad", "feddyn"])
def test_methods_that_send_the_model_alone_get_it_from_the_base_class(
    method: str, run_small: Runner, rows: list[dict[str, Any]]
) -> None:
    run_small(rounds=1, method__name=method, **FIXED, **MODEL)
    assert rows[1]["clip_norm"] == 0.5
