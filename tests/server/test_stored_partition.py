"""The partition of a run, in its directory."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from datasets.configured import open_dataset
from datasets.partition_report import label_counts, read_partition
from datasets.partition_scheme import partition_clients
from tests.conftest import Runner, small_config

TINY: dict[str, Any] = {"rounds": 1, "model__name": "linear", "local__epochs": 0, "local__steps": 1}


def summary(run_directory: Path) -> dict[str, Any]:
    return dict(json.loads((run_directory / "summary.json").read_text()))


def test_the_partition_is_stored_with_its_hash(run_small: Runner) -> None:
    run = run_small(**TINY)
    stored = read_partition(run / "partition.npz")
    dataset = open_dataset(small_config())
    expected = partition_clients(small_config(**TINY), dataset)
    assert [indices.tolist() for indices in stored] == [indices.tolist() for indices in expected]
    assert summary(run)["partition_sha256"] == expected.sha256
    # It is what the clients say they hold.
    reported = pd.read_csv(run / "label_distribution.csv").drop(columns=["client_id", "num_examples"])
    assert reported.to_numpy().tolist() == label_counts(dataset.train.targets.numpy(), stored, 10).tolist()


def test_the_hash_tells_partitions_apart_and_not_methods(run_small: Runner) -> None:
    first = summary(run_small("first", **TINY))["partition_sha256"]
    assert summary(run_small("method", method__name="scaffold", **TINY))["partition_sha256"] == first
    assert summary(run_small("seed", seed=1, **TINY))["partition_sha256"] != first
    assert summary(run_small("alpha", partition__alpha=0.3, **TINY))["partition_sha256"] != first


def test_data_of_the_nodes_own_have_none(run_small: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_small(partition__name="node", **TINY)
    assert "every client has as many training samples as the server" in capsys.readouterr().out
    assert "partition_sha256" not in summary(run)
    assert not (run / "partition.npz").exists()
