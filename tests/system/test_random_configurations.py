"""Features that no other test combines, drawn at random: what must be equal in every run is.

Each configuration is a method and one choice of each of three subjects, all drawn from a seed. Clients fail
at random where failures are tolerated.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from flwr.app import Message
from safetensors.torch import load_file

from clients.app import app
from clients.base import Client
from clients.local.training import train_locally
from clients.registry import available_methods
from common.config import Config
from common.config_values import merge, parse_toml
from common.errors import ClientFailureError, UserError
from common.randomness import numpy_generator
from common.sections import Value
from runtimes.run import make_grid
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import example_of
from tests.contract.test_stacked import FLOAT32_ONLY, precision
from tests.rows import untimed

Choice = dict[str, Value]
TINY: Choice = {
    "rounds": 3,
    "clients.count": 5,
    "clients.fraction": 0.6,
    "clients.evaluate-fraction": 0.5,
    "dataset.validation-fraction": 0.8,
    "model.name": "mlp",
    "model.hidden": 8,
    "local.steps": 2,
    "local.epochs": 0,
    "local.batch-size": 16,
    "checkpoint.every": 1,
}
SUBJECTS: dict[str, Sequence[Choice]] = {
    "participation": [
        {"participation.name": "skewed", "participation.correction": "inverse-inclusion"},
        {"participation.name": "power-of-choice"},
        {"participation.name": "norm-proportional"},
        {"participation.name": "clustered", "participation.similarity": "updates"},
        {"participation.name": "oort"},
        {"participation.name": "periodic"},
    ],
    "partition": [
        {"partition.name": "quantity", "partition.beta": 0.3},
        {"partition.name": "classes"},
        {"partition.name": "feature"},
        {"partition.name": "iid", "dataset.imbalance-factor": 0.2},
    ],
    "budget": [
        {"local.steps": 0, "local.epochs": 1},
        {"local.sampling": "shuffle"},
        {"steps.rule": "drift", "steps.threshold": 1.0, "steps.min": 1},
        {"steps.rule": "adacomm", "steps.min": 1},
        {"local.phases": "3:1", "schedule.phase-gamma": 0.5},
    ],
    "optimizer": [
        {"optimizer.momentum": 0.9, "optimizer.weight-decay": 0.01},
        {"optimizer.name": "adamw", "optimizer.learning-rate": 0.01},
        {"optimizer.clip-norm": 0.5, "schedule.name": "cosine"},
    ],
    "clock": [
        {"stragglers.fraction": 0.5, "stragglers.policy": "drop"},
        {"stragglers.fraction": 0.5, "clock.spread": 0.5, "clock.seconds-per-step": 0.1},
        {"clock.spread": 1.0, "clock.jitter": 0.5, "clock.bandwidth": 0.01},
    ],
    "failures": [{"failures.policy": "drop", "failures.max-fraction": 0.9}],
    "data": [
        {"dataset.label-noise": 0.2},
        {"dataset.client-noise": 0.3},
        {"augmentation.name": "crop-flip", "model.dropout": 0.3},
        {"loss.name": "focal"},
    ],
    "server": [
        {"privacy.clipping": "adaptive", "privacy.noise-multiplier": 0.5},
        {"attack.name": "gaussian"},
        {"clients.report-labels": False},
        {"compression.name": "top-k", "compression.fraction": 0.2, "compression.error-feedback": True},
        {"compression.name": "qsgd", "compression.bits": 5},
    ],
    "evaluation": [
        {"observers": "drift,update-norm", "evaluate.every": 2},
        {"stop.metric": "validation_loss", "stop.patience": 1},
        {"evaluate.count": 2, "metrics": "top5"},
        {"evaluate.groups": "counts", "clients.test-data": "training-distribution"},
    ],
}
SEEDS = range(300 if "FLOWERBED_LONG_TESTS" in os.environ else 10)
STACKED_SEEDS = SEEDS[: len(SEEDS) // 2]


class Killed(BaseException):
    """Stands for a process that dies."""


class DyingGrid(SequentialGrid):
    """Dies after a number of replies."""

    left = 0

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        for reply in super().exchange(messages):
            self.left -= 1
            if self.left < 0:
                raise Killed
            yield reply


def fail_at_random(client: Client, *arguments: Any, **local: Any) -> tuple[int, float]:
    """Stand in for ``train_locally``: a function of the seed, the client and the round fails."""
    config = client.worker.config
    draws = numpy_generator(config.seed, "planted", client.client_id, client.server_round)
    if config.failures.policy == "drop" and draws.random() < 0.2:
        raise ArithmeticError("planted")
    return train_locally(client, *arguments, **local)


def drawn(generator: random.Random) -> Choice:
    """Draw a method, and choices of three subjects."""
    method = generator.choice(available_methods())
    values = {**TINY, "method.name": method}
    for subject in generator.sample(sorted(SUBJECTS), 3):
        values |= generator.choice(SUBJECTS[subject])
    example = {key.replace("__", ".").replace("_", "-"): value for key, value in example_of(method).items()}
    return values | example


def run(
    values: Choice, directory: Path, grid_class: type[SequentialGrid] | None = None, resume: bool = False
) -> Path:
    config = Config.from_flat(merge(values, {"run.directory": str(directory), "run.resume": resume}))
    with grid_class(app, config.clients.count, config.flat()) if grid_class else make_grid(config) as grid:
        return run_experiment(config, grid, PlainLines())


def first_run(generator: random.Random, directory: Path) -> tuple[Choice, int]:
    """Run the first drawn configuration that can be run; return it, and how many replies there were."""

    class Counting(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for reply in super().exchange(messages):
                replies.append(reply.metadata.src_node_id)
                yield reply

    refused: list[str] = []
    while True:
        values, replies = drawn(generator), list[int]()
        shutil.rmtree(directory, ignore_errors=True)
        try:
            run(values, directory, Counting)
            break
        except ClientFailureError:  # all clients of a round have failed
            continue
        except UserError as error:
            refused.append(str(error))
    assert not any("\n" in text for text in refused)
    return values, len(replies)


def tables(directory: Path) -> dict[str, pd.DataFrame]:
    found = {path.name: untimed(pd.read_csv(path)) for path in directory.glob("*.csv")}
    assert {"metrics.csv", "clients.csv", "label_distribution.csv"} <= set(found)
    return found


def check_same(directory: Path, other: Path) -> None:
    first, second = (json.loads((path / "summary.json").read_text()) for path in (directory, other))
    assert first["model_sha256"] == second["model_sha256"]
    expected, found = tables(directory), tables(other)
    assert set(expected) == set(found)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table)


def check_counts(directory: Path) -> None:
    """Rows of rounds add up those of clients, who hold what the partition says."""
    found = tables(directory)
    clients = found["clients.csv"]
    for row in found["metrics.csv"].query("round > 0").to_dict("records"):
        own = clients[clients["round"] == row["round"]]
        assert (len(own), own["steps"].sum()) == (row["clients"], row["local_steps"])
        assert own["num_examples"].sum() == row["num_examples"]
        assert own["client_id"].is_unique
    with np.load(directory / "partition.npz") as partition:
        sizes, samples = partition["sizes"], partition["indices"]
    assert len(set(samples)) == len(samples) == sizes.sum()
    assert found["label_distribution.csv"]["num_examples"].tolist() == sizes.tolist()
    assert (sizes[clients["client_id"]] == clients["num_examples"]).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_is_the_resumed_run_and_that_in_threads(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in threads has every key written out, as ``config.toml`` has them."""
    monkeypatch.setattr("clients.base.train_locally", fail_at_random)
    generator = random.Random(seed)
    values, replies = first_run(generator, tmp_path / "whole")
    check_counts(tmp_path / "whole")
    monkeypatch.setattr(DyingGrid, "left", generator.randrange(1, replies))
    with pytest.raises(Killed):
        run(values, tmp_path / "parts", DyingGrid)
    check_same(tmp_path / "whole", run(values, tmp_path / "parts", resume=True))
    written = parse_toml((tmp_path / "whole" / "config.toml").read_text(), "config.toml")
    threads: Choice = {**written, "runtime.name": "threads", "runtime.workers": 2}
    check_same(tmp_path / "whole", run(threads, tmp_path / "threads"))


def check_near(directory: Path, other: Path) -> None:
    expected, found = tables(directory), tables(other)
    assert set(expected) == set(found)
    for name, table in expected.items():
        pd.testing.assert_frame_equal(found[name], table, rtol=1e-5, atol=1e-8)
    models = [load_file(path / "model.safetensors") for path in (directory, other)]
    torch.testing.assert_close(models[1], models[0], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("seed", STACKED_SEEDS)
def test_a_run_in_stacks_ends_where_it_does_one_by_one(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, since rounding differs; noisy images are float32."""
    monkeypatch.setitem(SUBJECTS, "data", [c for c in SUBJECTS["data"] if "dataset.client-noise" not in c])
    methods = [method for method in available_methods() if method not in FLOAT32_ONLY]
    monkeypatch.setattr("tests.system.test_random_configurations.available_methods", lambda: methods)
    with precision(torch.float64):
        values, _ = first_run(random.Random(f"stacked {seed}"), tmp_path / "alone")
        run({**values, "runtime.stack": 8}, tmp_path / "stacked")
    check_near(tmp_path / "alone", tmp_path / "stacked")
