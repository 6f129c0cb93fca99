"""Flower's strategies by name."""

from typing import Any

import pytest
from flwr.serverapp import strategy as flower_strategies

from clients.base import Client
from clients.registry import load_method
from strategies._flower import FlowerStrategy
from tests.refusals import error_of


def test_parameters_reach_the_strategy() -> None:
    method = load_method("flwr:FedAdam", {"eta": 0.5, "beta-1": 0.8})
    strategy = method.make_strategy()
    assert isinstance(strategy, FlowerStrategy)
    inner: Any = strategy.inner
    assert type(inner) is flower_strategies.FedAdam
    assert (inner.eta, inner.beta_1) == (0.5, 0.8)
    assert inner.fraction_train == 1.0
    assert inner.min_available_nodes == 1
    assert method.client_class is Client


@pytest.mark.parametrize("name", ["FedAvg", "FedAvgM", "FedYogi", "FedAdagrad", "Krum", "FedMedian"])
def test_those_that_take_only_values_are_usable(name: str) -> None:
    strategy = load_method(f"flwr:{name}", {}).make_strategy()
    assert isinstance(strategy, FlowerStrategy)
    assert type(strategy.inner) is getattr(flower_strategies, name)


@pytest.mark.parametrize(
    "name",
    [
        "FedProx",  # its client half is not Flower's, so it would be FedAvg under another name
        "DifferentialPrivacyServerSideFixedClipping",
        "FedXgbBagging",
        "Strategy",
        "Result",
        "NoSuch",
        "",
    ],
)
def test_others_are_refused(name: str) -> None:
    message = error_of(load_method, f"flwr:{name}", {})
    assert f"no strategy '{name}' that can be used by name" in message
    assert "flwr:FedAdam" in message.split("available:")[1]
    assert "flwr:FedProx" not in message.split("available:")[1]


def test_the_nearest_is_named() -> None:
    assert "did you mean 'FedAdam'" in error_of(load_method, "flwr:FedAdma", {})


@pytest.mark.parametrize(
    "key", ["etta", "fraction-train", "min-available-nodes", "arrayrecord-key", "train-metrics-aggr-fn"]
)
def test_unknown_parameters_are_refused(key: str) -> None:
    message = error_of(load_method, "flwr:FedAdam", {key: 1.0})
    assert f"'flwr:FedAdam' has no parameter 'method.{key}'" in message


def test_one_without_a_default_is_asked_for() -> None:
    message = error_of(load_method, "flwr:QFedAvg", {})
    assert message == "'flwr:QFedAvg' needs method.client-learning-rate, which has no default"


def test_weighting_is_for_those_that_weigh_replies() -> None:
    assert load_method("flwr:FedAdam", {"weighting": "uniform"}).make_strategy().weighting == "uniform"
    assert "has no parameter 'method.weighting'" in error_of(
        load_method, "flwr:FedMedian", {"weighting": "uniform"}
    )


def test_values_of_a_wrong_type_are_refused() -> None:
    assert (
        error_of(load_method, "flwr:FedAdam", {"eta": "abc"})
        == "method.eta must be a valid number, not 'abc'"
    )
