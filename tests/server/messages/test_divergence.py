"""Runs that diverge on the server: noticed where it happens, with what usually causes it."""

import csv
import math
from pathlib import Path

import pytest
import torch

from analysis.report import summary_rows
from common.errors import ClientFailureError, DivergedError
from common.sections import Value
from server.messages.divergence import advice, check_loss, check_model, grown_loss
from strategies.fedadam import FedAdam
from strategies.fedavg import FedAvg
from strategies.fedavgm import FedAvgM
from tests.conftest import Runner, model_for, small_config

HUGE = 3e38
LARGE_STEPS: dict[str, Value] = {"model__name": "linear", "optimizer__learning_rate": 1e5}


def numbers_are_finite(run_directory: Path) -> bool:
    for name in ("metrics", "clients", "evaluations"):
        path = run_directory / f"{name}.csv"
        rows = list(csv.reader(path.open())) if path.exists() else []
        if any(cell in ("nan", "inf", "-inf") for row in rows for cell in row):
            return False
    return True


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("fedavgm", {"method__server_learning_rate": 1e300}),
        ("fedadam", {"method__server_learning_rate": 1e300}),
        ("fedyogi", {"method__server_learning_rate": 1e300, "method__tau": 1e-30}),
        ("fedadagrad", {"method__server_learning_rate": 1e300}),
        ("scaffold", {"method__server_learning_rate": 1e300}),
        ("slowmo", {"method__slow_learning_rate": 1e300}),
        ("localsgd", {"method__outer_optimizer": "nesterov", "method__outer_learning_rate": 1e300}),
        ("fedbuff", {"method__buffer_size": 2, "method__server_learning_rate": 1e300}),
        ("heteroavg", {"method__delta_divisor": 1e-300}),
        (
            "heteroavg",
            {"method__inco": True, "method__inco_clip": 0.0, "method__delta_divisor": 1e-250},
        ),
    ],
)
def test_an_aggregate_that_is_not_finite_ends_the_run_before_its_row(
    method: str,
    parameters: dict[str, float],
    run_small: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The configuration refuses such rates; one that it admits needs several rounds, as a rule.
    monkeypatch.setattr("common.config._MAX", math.inf)
    monkeypatch.setattr("common.config._MIN", 0.0)
    with pytest.raises(DivergedError) as caught:
        run_small(method__name=method, **{**(model_for(method) or {"model__name": "linear"}), **parameters})
    message = str(caught.value)
    assert message.startswith(
        "round 1: the clients' replies are finite, but what the server computes from them is not"
    )
    assert "optimizer.learning-rate = " in message
    key = next((k for k in parameters if k.endswith("learning_rate")), "")
    if key:
        assert f"{key.replace('__', '.').replace('_', '-')} = 1e+300" in message
    assert "client 0" not in message
    assert numbers_are_finite(tmp_path / "run")


def test_a_finite_model_whose_loss_overflows_is_not_handed_to_clients(
    run_small: Runner, tmp_path: Path
) -> None:
    with pytest.raises(DivergedError, match=r"the loss of the server's model is (nan|inf) after round 1"):
        run_small(method__name="fedavgm", model__name="mlp", method__server_learning_rate=1e30)
    assert numbers_are_finite(tmp_path / "run")


def test_between_evaluations_the_model_is_named_and_not_the_client(run_small: Runner) -> None:
    with pytest.raises(ClientFailureError) as caught:
        run_small(
            method__name="fedavgm", model__name="mlp", method__server_learning_rate=1e30, evaluate__every=3
        )
    message = str(caught.value)
    assert message.startswith("round 2 works with a model of the server's whose loss is not finite")
    assert "before the first local step" in message
    assert "optimizer.learning-rate" in message


@pytest.mark.parametrize("policy", ["raise", "drop"])
def test_a_client_that_diverges_is_given_advice(policy: str, run_small: Runner) -> None:
    with pytest.raises(ClientFailureError) as caught:
        run_small(
            method__name="scaffold",
            model__name="mlp",
            optimizer__learning_rate=1e30,
            optimizer__momentum=0.9,
            schedule__name="constant",
            failures__policy=policy,
            failures__max_fraction=0.5,
        )
    message = str(caught.value)
    assert "optimizer.learning-rate = 1e+30" in message
    assert "optimizer.momentum = 0.9 every correction of 'scaffold' is repeated 10 times" in message
    assert "optimizer.clip-norm" in message


def test_what_a_method_keeps_must_be_finite_in_the_models_precision() -> None:
    strategy, config = FedAvgM(), small_config()
    strategy.velocity = {"w": torch.tensor([1e300], dtype=torch.float64)}
    with pytest.raises(DivergedError, match=r"the method's 'velocity\.w' has it"):
        check_model({"w": torch.ones(1)}, config, strategy, 3)
    strategy.velocity = {"w": torch.tensor([HUGE, HUGE], dtype=torch.float64)}
    check_model({"w": torch.full((2,), HUGE), "n": torch.tensor(3)}, config, strategy, 3)
    with pytest.raises(DivergedError, match=r"round 3: .* the new model has it in 'w'"):
        check_model({"w": torch.tensor([float("nan")])}, config, FedAvg(), 3)


def test_losses() -> None:
    check_loss({}, small_config(), FedAvg(), 1)
    check_loss({"test_loss": 1e300}, small_config(), FedAvg(), 1)
    with pytest.raises(DivergedError, match="before the first round"):
        check_loss({"test_loss": float("inf")}, small_config(), FedAvg(), 0)


def test_the_advice_names_the_rate_of_the_round_and_what_else_there_is() -> None:
    config = small_config(optimizer__learning_rate=0.5, schedule__warmup_rounds=2, rounds=4)
    text = advice(config, FedAdam(server_learning_rate=7.0), 1)
    assert (
        "optimizer.learning-rate = 0.5, which is 0.25 in round 1, method.server-learning-rate = 7.0" in text
    )
    assert "method.tau" in text
    assert "warm it up" not in text


@pytest.mark.parametrize(("mu", "is_named"), [(19.0, False), (21.0, True)])
def test_a_proximal_term_that_overshoots_is_named(mu: float, is_named: bool) -> None:
    """At a rate of 0.1 the distance to the global model is multiplied by 1 - 0.1 mu in every step."""
    config = small_config(method__name="fedprox", method__mu=mu, optimizer__learning_rate=0.1)
    assert ("method.mu = 21 pulls too far" in advice(config, FedAvg(), 1)) == is_named


@pytest.mark.parametrize("method", ["flwr:FedAvgM", "flwr:FedAdam"])
def test_rates_of_flowers_strategies_are_named_and_nothing_is_warned_of(
    method: str, run_small: Runner, recwarn: pytest.WarningsRecorder
) -> None:
    key = "server-learning-rate" if method == "flwr:FedAvgM" else "eta"
    rate = {f"method__{key.replace('-', '_')}": 3e38}
    with pytest.raises(DivergedError, match=rf"optimizer.learning-rate = 0\.\d+, method\.{key} = 3e\+38"):
        run_small(method__name=method, model__name="linear", rounds=3, **rate)
    assert not [warning for warning in recwarn if "encountered" in str(warning.message)]


class TestALossThatStaysFinite:
    @pytest.mark.parametrize(
        ("first", "final", "remark"),
        [
            ({"test_loss": 2.3}, {"test_loss": 2400.0}, "the test loss rose from 2.3 to 2400"),
            ({"test_loss": 2.3}, {"test_loss": 2200.0}, ""),
            ({"test_loss": 1e-6}, {"test_loss": 0.5}, ""),  # of a model that had been trained already
            ({"validation_loss": 2.0}, {"validation_loss": 1e9}, "the validation loss rose from 2 to 1e+09"),
            ({}, {"test_loss": 1e9}, ""),
        ],
    )
    def test_is_judged_by_the_first_evaluation(
        self, first: dict[str, float], final: dict[str, float], remark: str
    ) -> None:
        assert grown_loss(first, final) == remark

    def test_is_remarked_at_the_end_of_the_run(
        self, run_small: Runner, capsys: pytest.CaptureFixture[str]
    ) -> None:
        directory = run_small(rounds=2, **LARGE_STEPS)
        (remark,) = [line for line in capsys.readouterr().out.splitlines() if "a sign of divergence" in line]
        assert "the test loss rose from" in remark
        assert "optimizer.learning-rate = 100000" in remark
        assert "clip gradients (optimizer.clip-norm)" in remark
        assert remark in (directory / "log.txt").read_text()
        assert summary_rows(directory)["diverged"].startswith("the test loss rose from 2.")

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {**LARGE_STEPS, "attack__name": "sign-flip", "attack__fraction": 0.2},
            {**LARGE_STEPS, "method__name": "local-only"},
        ],
    )
    def test_is_no_alarm_where_it_may_be_the_result(
        self, settings: dict[str, Value], run_small: Runner
    ) -> None:
        assert "diverged" not in summary_rows(run_small(rounds=2, **settings))
