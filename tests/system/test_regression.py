"""Numbers to predict, from a table to the comparison of runs; and a user's metric."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from analysis.comparison.compare import main as compare
from common.plugins import use_folders
from run_simulation import main


@pytest.fixture
def root(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for part, size in (("train", 120), ("test", 30)):
        x = generator.normal(size=(size, 2))
        rows = [f"{a},{b},{3 * a - b + 5},{i % 3}" for i, (a, b) in enumerate(x)]
        (tmp_path / f"{part}.csv").write_text("\n".join(["a,b,y,site", *rows]))
    return tmp_path


def options(root: Path, **extra: object) -> list[str]:
    keys = {
        "dataset.name": "csv", "dataset.root": root, "dataset.client": "site", "partition.name": "natural",
        "clients.count": 3, "clients.fraction": 1.0, "clients.evaluate-fraction": 1.0, "model.name": "linear",
        "loss.name": "mse", "optimizer.learning-rate": 0.1, "rounds": 4, **extra,
    }  # fmt: skip
    return [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]


def test_a_line_is_found_and_a_resumed_run_finds_the_same(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run-dir", str(root / "a"), *options(root)]) == 0
    with (root / "a" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[-1]["test_accuracy"] == ""
    assert rows[-1]["test_mse"] == rows[-1]["test_loss"]
    assert float(rows[-1]["test_r2"]) > 0.99
    assert float(rows[-1]["federated_mae"]) < 0.2 < float(rows[0]["test_mae"])
    summary = json.loads((root / "a" / "summary.json").read_text())
    assert summary["best.test_loss"] == min(float(summary["final.test_loss"]), summary["best.test_loss"])

    assert main(["--run-dir", str(root / "b"), *options(root, rounds=2)]) == 0
    assert main(["--run-dir", str(root / "b"), "--resume", *options(root)]) == 0
    again = json.loads((root / "b" / "summary.json").read_text())
    assert again["model_sha256"] == summary["model_sha256"]
    capsys.readouterr()
    assert not compare([str(root / "a"), str(root / "b")])
    assert "final test loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"loss.name": "cross-entropy"}, "use a loss such as 'mse'"),
        ({"partition.name": "dirichlet"}, "partition 'dirichlet' needs a class for each sample"),
        ({"method.name": "creff"}, "method.name 'creff' needs classes"),
        ({"method.name": "moon"}, "has a loss of its own"),
        ({"stop.patience": 2}, "stop.metric 'test_accuracy' is for classes"),
        ({"dataset.label-noise": 0.1}, "dataset.label-noise is for classes"),
        ({"dataset.imbalance-factor": 0.1}, "dataset.imbalance-factor needs a class per sample"),
        ({"analysis.sharpness-images": 8}, "analysis.sharpness-images is for classes"),
        ({"model.outputs": 3}, "model.outputs is for classes"),
        ({"augmentation.name": "crop-flip"}, "is for images"),
        ({"model.name": "small-cnn"}, "takes images"),
        ({"model.name": "char-lstm"}, "takes text"),
    ],
)
def test_what_needs_classes_says_so(
    extra: dict[str, object], text: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--run-dir", str(root / "run"), *options(root, **extra)]) in (1, 2)
    errors = capsys.readouterr().err
    assert text in errors
    assert "Traceback" not in errors


def test_clients_evaluate_numbers_in_the_precision_of_the_server(root: Path) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        keys = {"partition.name": "iid", "evaluate.precision": precision, "rounds": 1}
        assert main(["--run-dir", str(root / precision), *options(root, **keys)]) == 0
        summary = json.loads((root / precision / "summary.json").read_text())
        # Clients that are not natural ones are tested on all of the test set.
        assert summary["final.federated_mse"] == pytest.approx(summary["final.test_mse"], rel=1e-9)
        found[precision] = summary["final.federated_mse"]
    assert found["bfloat16"] != found["float32"]


def test_classes_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--run-dir", str(tmp_path / "run"), "--set", "loss.name=mse"]) == 2
    assert "the targets of dataset 'digits' are classes" in capsys.readouterr().err


def test_a_users_metric_is_in_rows_of_clients_and_server(root: Path) -> None:
    (root / "mine" / "metrics").mkdir(parents=True)
    (root / "mine" / "metrics" / "near.py").write_text(
        "def metric(outputs, targets):\n    return (outputs[:, 0] - targets).abs() < 0.5\n"
    )
    plugins = ["--plugins", str(root / "mine"), "--set", "metrics=near"]
    try:
        assert main(["--run-dir", str(root / "run"), *plugins, *options(root)]) == 0
    finally:
        use_folders("")
    with (root / "run" / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["test_near"]) > 0.9
    assert float(last["federated_near"]) == pytest.approx(float(last["test_near"]))  # added over clients
    with (root / "run" / "evaluations.csv").open() as file:
        header = next(csv.reader(file))
    assert "near" in header
    assert not any(name.startswith("count-of") for name in header)
