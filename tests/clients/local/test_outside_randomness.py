"""Models that draw random numbers as anybody's would: their runs have the same bits however they are made."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import clients.local.worker
import server.evaluation
from clients.app import app
from clients.node.run_configuration import forget_run
from common.errors import UserError
from common.randomness import torch_seed
from common.sections import Value
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import small_config
from tests.contract.test_contract import model_hash
from tests.models.random_models import KINDS, Between

OPTIONS: dict[str, Value] = {
    "clients__count": 4,
    "clients__fraction": 0.5,
    "local__steps": 2,
    "local__epochs": 0,
    "local__batch_size": 16,
    "schedule__name": "constant",
    "augmentation__name": "none",
    "checkpoint__every": 1,
}


class DisturbedGrid(SequentialGrid):
    """A carrier in whose process somebody draws from the global generators before every job."""

    def push_messages(self, messages: Any) -> Any:
        disturb()
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Any) -> Any:
        disturb()
        return super().pull_messages(message_ids)


def disturb() -> None:
    torch.rand(3)
    np.random.mtrand._rand.rand(3)
    random.random()


def global_state() -> tuple[Any, ...]:
    return (torch.get_rng_state().tolist(), str(np.random.mtrand._rand.get_state()), random.getstate())


@pytest.fixture
def run_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run an experiment with a model of a kind and return the hash of the final model."""

    def run(kind: str, name: str, grid_class: type[SequentialGrid] = SequentialGrid, **options: Value) -> str:
        def build(config: Any, *arguments: Any) -> torch.nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_seed(config.seed, "init"))
                return Between(KINDS[kind]())

        monkeypatch.setattr(clients.local.worker, "build_configured_model", build)
        monkeypatch.setattr(server.evaluation, "build_configured_model", build)
        forget_run()
        path = tmp_path / name
        config = small_config(path, **{"rounds": 3, **OPTIONS, **options})
        run_experiment(config, grid_class(app, config.clients.count, config.flat()), PlainLines())
        return model_hash(path)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_the_same_twice_and_after_a_resumption(kind: str, run_kind: Callable[..., str]) -> None:
    before = global_state()
    once = run_kind(kind, "once")
    assert global_state() == before
    assert run_kind(kind, "disturbed", DisturbedGrid) == once

    run_kind(kind, "resumed", rounds=2)
    disturb()
    assert run_kind(kind, "resumed", run__resume=True) == once


@pytest.mark.parametrize("kind", ["Dropout", "own-generator"])
def test_other_seeds_and_other_clients_draw_other_numbers(kind: str, run_kind: Callable[..., str]) -> None:
    # The shuffled batches are all of the data: only masks and initial weights depend on the seed.
    assert run_kind(kind, "a") != run_kind(kind, "b", seed=1)


def test_masks_of_a_stream_of_batches_belong_to_the_step(run_kind: Callable[..., str]) -> None:
    """With one client and a plain average, four rounds of one step are two of two."""
    same: dict[str, Value] = {"clients__count": 1, "clients__fraction": 1.0, "local__sampling": "shard"}
    by_two = run_kind("Dropout", "two", rounds=2, local__steps=2, **same)
    assert run_kind("Dropout", "one", rounds=4, local__steps=1, **same) == by_two


def test_a_source_that_cannot_be_seeded_is_refused(
    run_kind: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unkeyed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + int.from_bytes(os.urandom(4)) / 2**32

    monkeypatch.setitem(KINDS, "unkeyed", Unkeyed)
    with pytest.raises(UserError, match=r"model 'mlp' computes different outputs"):
        run_kind("unkeyed", "run")
