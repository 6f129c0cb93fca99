"""Shares of the test batches, measured anywhere, add up to the bits of one process."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clients._configuration import complete
from common.config import Config
from common.records import to_tensors
from common.sections import Value
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation
from server.measurer import Candidate, Measurer, Measures, Share, make_measurer
from tests.clients.jobs import small
from tests.conftest import SIZES, small_config
from tests.strategies.messages import record

BATCH = 50  # 360 samples: eight batches, the last one smaller


class Elsewhere:
    """Measures shares as processes would that share nothing but what is sent."""

    def __init__(self, config: Config, count: int, lost: int = -1) -> None:
        self._config, self._count, self._lost = config, count, lost
        self.given: list[list[bool]] = []

    def measure(self, candidate: Candidate, num_batches: int) -> list[Measures | None]:
        count = min(self._count, num_batches)
        shares: list[Measures | None] = []
        for index in range(count):
            sent: Candidate = pickle.loads(pickle.dumps(candidate))
            found = make_measurer(self._config).measure_share(sent, Share(index, count))
            shares.append(None if index == self._lost else pickle.loads(pickle.dumps(found)))
        self.given.append([share is not None for share in shares])
        return shares


def results(
    config: Config, evaluator: Elsewhere | None = None, with_variants: bool = False
) -> tuple[Mapping[str, float], list[dict[str, Any]]]:
    evaluation = CentralEvaluation(config, open_dataset(config), evaluator)
    state = to_tensors(evaluation.initial_arrays())
    generator = torch.Generator().manual_seed(1)
    state = {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and "running" not in name
        else value
        for name, value in state.items()
    }
    body = next(name for name in state if name.endswith("weight"))
    variants = {
        "head": {"classifier.weight": -state["classifier.weight"]},
        "body": {body: -state[body]},
        "other": {"classifier.bias": state["classifier.bias"] + 1},
    }
    return evaluation(record(state), variants if with_variants else None), evaluation.class_rows()


def table(path: Path) -> dict[str, Value]:
    generator = np.random.default_rng(0)
    for name, size in (("train", 60), ("test", 133)):
        inputs = generator.normal(size=(size, 3)).astype(np.float32)
        np.savez(path / f"{name}.npz", inputs=inputs, targets=inputs.sum(axis=1) + 0.1)
    return {"dataset__name": "npz", "dataset__root": str(path), "loss__name": "mse"}


def by_sample(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.reshape(len(targets), -1)[:, 0] - targets).abs() / 3


CASES: dict[str, dict[str, Value]] = {
    "labels": {"model__name": "mlp"},
    "batch-norm": {
        "model__name": "stage-resnet",
        "model__blocks": "1-1-1-1",
        "model__width": 2,
        "batch_norm__policy": "recalibrate",
    },
    "bfloat16": {"model__name": "mlp", "evaluate__precision": "bfloat16"},
    "validation": {"model__name": "mlp", "dataset__validation_fraction": 0.05},
    "full": {"model__name": "mlp", "evaluate__drop_last": True},
    "noise": {"model__name": "mlp", "dataset__client_noise": 0.3},
    "groups": {"model__name": "mlp", "evaluate__groups": "cumulative"},
    "own": {"model__name": "mlp", "metrics": f"{__name__}:by_sample"},
}


@pytest.mark.parametrize("count", [2, 3, 100])
@pytest.mark.parametrize("case", CASES)
def test_shares_add_up_to_the_same_bits(case: str, count: int) -> None:
    config = small(evaluate__batch_size=BATCH, **CASES[case])
    elsewhere = Elsewhere(config, count)
    assert results(config, elsewhere, True) == results(config, None, True)
    num_shares = min(count, 7 if case == "full" else 8)
    assert elsewhere.given == [[True] * num_shares] * 2  # of the model with its heads, and of the body


@pytest.mark.parametrize("count", [2, 3, 100])
def test_numbers_add_up_to_the_same_bits(count: int, tmp_path: Path) -> None:
    keys: dict[str, Value] = {"model__name": "mlp", "metrics": f"{__name__}:by_sample"}
    config = small(evaluate__batch_size=10, **keys, **table(tmp_path))
    elsewhere = Elsewhere(config, count)
    found = results(config, elsewhere)
    assert found == results(config)
    assert {"test_mse", "test_r2", "test_by_sample"} <= set(found[0])
    assert elsewhere.given == [[True] * min(count, 14)]


def test_sub_models_are_measured_in_shares_too() -> None:
    config = complete(small_config(evaluate__batch_size=BATCH, **SIZES))
    elsewhere = Elsewhere(config, 3)
    found = results(config, elsewhere)
    assert found == results(config)
    assert "test_accuracy_mean" in found[0]
    assert elsewhere.given == [[True] * 3] * 2  # of the whole and of the smaller one


def test_one_batch_stays_here() -> None:
    config = small(evaluate__batch_size=1000, model__name="mlp")
    elsewhere = Elsewhere(config, 3)
    assert results(config, elsewhere) == results(config)
    assert elsewhere.given == []


def test_what_a_lost_share_was_of_is_measured_here() -> None:
    config = small(evaluate__batch_size=BATCH, model__name="mlp")
    elsewhere = Elsewhere(config, 3, lost=1)
    assert results(config, elsewhere, True) == results(config, None, True)
    assert elsewhere.given == [[True, False, True]] * 2


def test_a_model_that_draws_in_evaluations_is_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.architectures.mlp import MultilayerPerceptron

    features = MultilayerPerceptron.features
    monkeypatch.setattr(
        MultilayerPerceptron, "features", lambda self, x: features(self, x + torch.rand_like(x))
    )
    config = small(evaluate__batch_size=BATCH, model__name="mlp")
    elsewhere = Elsewhere(config, 2)
    assert results(config, elsewhere) == results(config)
    assert elsewhere.given == [[False, False]]


def test_noisy_samples_are_still_those_of_their_natural_clients() -> None:
    config = complete(small_config(model__name="mlp", dataset__client_noise=0.3))
    dataset = open_dataset(config)
    owners = torch.arange(len(dataset.test)) % 3
    natural = replace(dataset, test=replace(dataset.test, clients=owners))
    assert Measurer(config, natural).splits["test"].clients is not None
