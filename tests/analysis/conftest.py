"""Small synthetic run directories."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

BASE_CONFIG = {
    "seed": 0,
    "method.name": "fedavg",
    "model.name": "mlp",
    "dataset.name": "digits",
    "partition.name": "dirichlet",
    "clients.count": 4,
}


def write_metrics(run_dir, accuracies, losses=None):
    """Write one row per round; None is a round without evaluation."""
    losses = losses or [None if value is None else 2 * (1 - value) for value in accuracies]
    rounds = len(accuracies)
    pd.DataFrame(
        {
            "round": range(rounds),
            "train_loss": [None, *np.linspace(2, 1, rounds - 1)],
            "test_loss": losses,
            "test_accuracy": accuracies,
            "clients": 2,
            "failures": 0,
            "seconds": 0.5,
            "bytes_down": 1000,
            "bytes_up": 2500,
        }
    ).to_csv(run_dir / "metrics.csv", index=False)


def write_clients(run_dir, client_ids):
    """Write one row per client id, two clients a round."""
    pd.DataFrame(
        {
            "round": [1 + position // 2 for position in range(len(client_ids))],
            "client_id": client_ids,
            "num_examples": 10,
            "steps": 5,
            "loss": 1.0,
            "seconds": 0.1,
        }
    ).to_csv(run_dir / "clients.csv", index=False)


def write_label_distribution(run_dir, counts):
    """Write an array of counts, one row per client."""
    counts = np.asarray(counts)
    table = pd.DataFrame(counts, columns=[f"class {label}" for label in range(counts.shape[1])])
    table.insert(0, "num_examples", counts.sum(axis=1))
    table.insert(0, "client_id", range(len(counts)))
    table.to_csv(run_dir / "label_distribution.csv", index=False)


def write_summary(run_dir, accuracies, **config):
    measured = [value for value in accuracies if value is not None]
    summary = {
        "rounds": len(accuracies) - 1,
        "final.test_accuracy": measured[-1],
        "final.test_loss": 0.5,
        "best.test_accuracy": max(measured),
        "best.test_loss": 0.25,
        "best.round": accuracies.index(max(measured)),
        "model_sha256": "0123456789abcdef" * 4,
        "seconds": 150.0,
        "seconds_per_round": 37.5,
        "peak_rss_mb": 300,
        "versions": {"python": "3.11"},
        "config": {**BASE_CONFIG, **config},
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a complete run directory."""

    def make(name="run", accuracies=(0.1, 0.4, None, 0.7, 0.6), **config):
        run_dir = tmp_path / name
        run_dir.mkdir(parents=True)
        accuracies = list(accuracies)
        write_metrics(run_dir, accuracies)
        write_clients(run_dir, [0, 1, 0, 2, 0, 1, 0, 1])
        write_label_distribution(run_dir, [[5, 0, 1], [0, 5, 1], [2, 2, 2], [1, 0, 0]])
        config = {"run.directory": str(run_dir)} | {key.replace("__", "."): v for key, v in config.items()}
        write_summary(run_dir, accuracies, **config)
        return run_dir

    return make


def picture_is_drawn(path, least_pixels=500):
    """Whether a PNG has plausible dimensions and ink on it."""
    pixels = imread(path)[..., :3]
    return min(pixels.shape[:2]) >= least_pixels and (pixels.min(axis=2) < 0.9).mean() > 0.005
