"""What is written down about features, against the run's own model."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from common.errors import UserError
from datasets.configured import open_dataset
from datasets.dataset import Dataset, Split
from datasets.transforms import make_normalizer
from models.classifier import Classifier, as_classifier
from models.configured import build_configured_model
from models.measures.neural_collapse import class_statistics
from server.records.feature_record import FeatureRecord
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


class Pixels(Classifier):
    """Features are the pixels."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.classifier = nn.Linear(weight.shape[1], len(weight), bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(weight)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def test_numbers_of_given_features_and_heads(tmp_path: Path) -> None:
    classes, size = 3, 20
    generator = torch.Generator().manual_seed(6)
    targets = torch.arange(240) % classes
    centres = torch.rand(classes, size, generator=generator) ** 3
    pixels = centres[targets] * 200 * torch.rand(240, size, generator=generator) ** 0.3 + 50 * torch.rand(
        240, size, generator=generator
    )
    images = pixels.to(torch.uint8).view(-1, 1, 4, 5)
    split, names = Split(images, targets), tuple("abc")
    dataset = Dataset("pixels", split, None, split, classes, names, (0.0,), (1.0,))
    own = centres - centres.mean(0) + 0.1 * torch.randn(classes, size, generator=generator)
    other = torch.randn(classes, size, generator=generator)
    rows: dict[str, list[dict[str, float]]] = {"neural_collapse": [], "heads": []}
    directory = SimpleNamespace(
        path=tmp_path, add_log=lambda name, columns: SimpleNamespace(append=rows[name].append)
    )
    model = Pixels(own)
    record = FeatureRecord(small_config(), model, dataset)
    record.open(directory)  # type: ignore[arg-type]
    record.write(1, model.state_dict(), {"global_head": {"classifier.weight": other}})
    (row,) = rows["neural_collapse"]

    features = images.flatten(1).double() / 255
    means = torch.stack([features[targets == label].mean(0) for label in range(classes)])

    def below(rank: int) -> torch.Tensor:
        return torch.stack([mean < sorted(mean.tolist())[rank] for mean in means])

    def accuracy(without: torch.Tensor) -> float:
        scores = features @ own.double().where(~without, 0).T
        return (scores.argmax(1) == targets).double().mean().item()

    negligible, dominant = below(int(size * (1 - 0.9))), ~below(18)
    assert negligible.sum(1).tolist() == [1, 1, 1]
    expected = (accuracy(negligible), accuracy(dominant))
    # Such that neither set, nor half of the dimensions, could be taken for the other.
    wrong = (accuracy(~negligible), accuracy(~dominant), accuracy(below(10)), accuracy(~below(10)))
    assert len({*expected, *wrong}) == 6
    assert row["accuracy_without_negligible"] == pytest.approx(expected[0])
    assert row["accuracy_without_dominant"] == pytest.approx(expected[1])

    deviations = features - means[targets]
    for name, chosen in (("negligible", below(8)), ("other", ~below(8))):
        held = deviations[chosen[targets]]
        spread = (held**2).mean() / held.abs().mean() ** 2
        assert row[f"spread_{name}"] == pytest.approx(spread.item(), rel=1e-5)

    centred = means - means.mean(0)
    nearest = torch.cdist(features, means).argmin(1)
    for suffix, weight in (("", own.double()), ("_global_head", other.double())):
        nc3 = (weight / weight.norm() - centred / centred.norm()).norm()
        assert row[f"nc3{suffix}"] == pytest.approx(nc3.item(), rel=1e-5)
        disagreement = ((features @ weight.T).argmax(1) != nearest).double().mean()
        assert row[f"nc4{suffix}"] == pytest.approx(disagreement.item())
