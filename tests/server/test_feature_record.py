"""What is written down about features, against the run's own model."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from common.errors import UserError
from common.neural_collapse import class_statistics
from datasets.configured import open_dataset
from datasets.transforms import make_normalizer
from models.classifier import as_classifier
from models.configured import build_configured_model
from tests.conftest import Runner, small_config

KEYS = {"model__name": "mlp", "method__name": "fedloge", "method__head_steps": 20}


def test_features_heads_and_accuracies(run_small: Runner) -> None:
    run = run_small(**KEYS, analysis__feature_rounds="1,3")
    assert sorted(path.name for path in (run / "features").iterdir()) == [
        "round-000001.safetensors",
        "round-000003.safetensors",
    ]
    config = small_config(**KEYS)
    dataset = open_dataset(config)
    model = as_classifier(build_configured_model(config, dataset.input_shape, dataset.num_classes))
    state = load_file(run / "model.safetensors")
    model.load_state_dict(state)
    inputs = make_normalizer(dataset, torch.device("cpu"))(dataset.test.inputs)
    statistics = class_statistics(model.features(inputs), dataset.test.targets, 10)
    found = load_file(run / "features" / "round-000003.safetensors")
    torch.testing.assert_close(found["means"], statistics.means.float())
    torch.testing.assert_close(found["variances"], statistics.variances.float())
    assert torch.equal(found["head/classifier"], state["classifier.weight"])
    classes = pd.read_csv(run / "heads.csv").query("round == 3")
    metrics = pd.read_csv(run / "metrics.csv").iloc[-1]
    counts = torch.bincount(dataset.test.targets, minlength=10).numpy()
    for head, column in (("classifier", "test_accuracy"), ("realigned", "test_accuracy_realigned")):
        rows = classes[classes["head"] == head]
        assert (rows["accuracy"] * counts).sum() / counts.sum() == pytest.approx(metrics[column], abs=1e-5)
    realigned = classes[classes["head"] == "realigned"]["norm"]
    assert realigned.tolist() == pytest.approx([1.7] * 10)
    rows = pd.read_csv(run / "neural_collapse.csv")
    assert rows["round"].tolist() == [1, 3]
    assert rows.notna().all(axis=None)


def test_recording_has_no_say_in_the_result_and_is_cut_back(run_small: Runner) -> None:
    def sha(run: Path) -> object:
        return json.loads((run / "summary.json").read_text())["model_sha256"]

    plain = run_small("plain", **KEYS, rounds=2)
    recorded = run_small("recorded", **KEYS, rounds=2, analysis__feature_rounds="1-9")
    assert sha(plain) == sha(recorded)
    run_small("recorded", **KEYS, rounds=3, analysis__feature_rounds="1-9", run__resume=True)
    assert pd.read_csv(recorded / "neural_collapse.csv")["round"].tolist() == [1, 2, 3]


def test_methods_with_one_head_and_with_personal_ones(run_small: Runner) -> None:
    for method in ("fedavg", "fedper"):
        options = {"model__name": "mlp", "method__name": method, "analysis__feature_rounds": "1"}
        run = run_small(method, **options, rounds=1)
        assert set(pd.read_csv(run / "heads.csv")["head"]) == {"classifier"}


def test_a_wrong_list_of_rounds() -> None:
    with pytest.raises(UserError, match="feature-rounds must list rounds"):
        small_config(analysis__feature_rounds="some")
