import math
from dataclasses import replace

import pytest
import torch

from common.errors import UserError
from common.records import to_ndarray, to_tensors
from common.sections import Value
from datasets.configured import open_dataset
from datasets.dataset import Dataset, Split
from models.configured import build_configured_model
from server.evaluation import CentralEvaluation
from tests.clients.jobs import small
from tests.strategies.messages import record

BIAS = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.25, 0.75, -0.5, 1.5])


def linear_evaluation(**keys: object) -> CentralEvaluation:
    config = small(model__name="linear", **keys)  # type: ignore[arg-type]
    return CentralEvaluation(config, open_dataset(config))


@pytest.mark.parametrize("batch_size", [1000, 100, 7])
def test_a_model_that_always_answers_the_same(batch_size: int) -> None:
    evaluation = linear_evaluation(evaluate__batch_size=batch_size)
    results = evaluation(record({"classifier.weight": torch.zeros(10, 64), "classifier.bias": BIAS}))
    targets = open_dataset(small()).test.targets
    log_probabilities = torch.log_softmax(BIAS.double(), dim=0)
    assert set(results) == {"test_loss", "test_accuracy"}
    assert results["test_accuracy"] == pytest.approx((targets == 4).double().mean().item(), abs=1e-12)
    assert results["test_loss"] == pytest.approx(-log_probabilities[targets].mean().item(), rel=1e-6)


def test_a_model_of_zeros_has_the_loss_of_chance() -> None:
    zeros = record({"classifier.weight": torch.zeros(10, 64), "classifier.bias": torch.zeros(10)})
    assert linear_evaluation()(zeros)["test_loss"] == pytest.approx(math.log(10), rel=1e-6)


def test_loss_and_accuracy_of_a_linear_model() -> None:
    evaluation = linear_evaluation()
    dataset = open_dataset(small())
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(10, 64, generator=generator), torch.randn(10, generator=generator)
    pixels = (dataset.test.inputs.double() / 255 - dataset.mean[0]) / dataset.std[0]
    logits = pixels.flatten(1) @ weight.double().T + bias.double()
    targets = dataset.test.targets
    losses = logits.logsumexp(1) - logits.gather(1, targets[:, None])[:, 0]
    results = evaluation(record({"classifier.weight": weight, "classifier.bias": bias}))
    assert results["test_loss"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert results["test_accuracy"] == pytest.approx(
        (logits.argmax(1) == targets).double().mean().item(), abs=1e-9
    )


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"stop__metric": "validation_accuracy", "stop__patience": 2}, "stop.metric 'validation_accuracy'"),
        ({"steps__rule": "plateau"}, "steps.rule 'plateau'"),
    ],
)
def test_what_goes_by_validation_data_needs_some(keys: dict[str, Value], named: str) -> None:
    config = small(model__name="linear", local__epochs=0, **keys)
    dataset = open_dataset(config)
    with pytest.raises(UserError, match=f"{named} looks at validation data"):
        CentralEvaluation(config, dataset)
    CentralEvaluation(config, replace(dataset, validation=dataset.test))  # its own, as of SNLI


def test_validation_data_are_evaluated_if_there_are_any() -> None:
    evaluation = linear_evaluation(dataset__validation_fraction=0.2)
    config = small(model__name="linear", dataset__validation_fraction=0.2)
    validation = open_dataset(config).validation
    assert validation is not None
    results = evaluation(record({"classifier.weight": torch.zeros(10, 64), "classifier.bias": BIAS}))
    expected = (validation.targets == 4).double().mean().item()
    assert results["validation_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert set(results) == {"test_loss", "test_accuracy", "validation_loss", "validation_accuracy"}


def test_the_initial_model_is_that_of_the_workers() -> None:
    evaluation = linear_evaluation(seed=5)
    config = small(model__name="linear", seed=5)
    model = build_configured_model(config, (1, 8, 8), 10)
    initial = to_tensors(evaluation.initial_arrays())
    assert {name: value.tolist() for name, value in initial.items()} == {
        name: value.tolist() for name, value in model.state_dict().items()
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["average", "recalibrate"])
def test_the_training_flag_comes_back_and_the_model_is_not_changed(
    training: bool,
    policy: str,
    batch_norm_model: str,
) -> None:
    config = small(model__name=batch_norm_model, batch_norm__policy=policy)
    evaluation = CentralEvaluation(config, open_dataset(config))
    arrays = evaluation.initial_arrays()
    before = {name: array.data for name, array in arrays.items()}
    evaluation.model.train(training)
    first = evaluation(arrays)
    assert all(module.training is training for module in evaluation.model.modules())
    assert evaluation(arrays) == first
    assert {name: array.data for name, array in arrays.items()} == before


def test_evaluation_uses_running_statistics_not_the_batchs(batch_norm_model: str) -> None:
    config = small(model__name=batch_norm_model)
    results = []
    for batch_size in (360, 24):
        sized = small(model__name=batch_norm_model, evaluate__batch_size=batch_size)
        evaluation = CentralEvaluation(sized, open_dataset(config))
        evaluation.model.train()
        results.append(evaluation(evaluation.initial_arrays())["test_loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_recalibration_estimates_the_buffers_anew(batch_norm_model: str) -> None:
    average = small(model__name=batch_norm_model)
    recalibrate = small(
        model__name=batch_norm_model, batch_norm__policy="recalibrate", evaluate__batch_size=2000
    )
    evaluation = CentralEvaluation(recalibrate, open_dataset(recalibrate))
    arrays = evaluation.initial_arrays()
    finished = evaluation.finished(arrays)
    dataset = open_dataset(recalibrate)
    pixels = (dataset.train.inputs.double() / 255 - dataset.mean[0]) / dataset.std[0]
    features = torch.nn.functional.conv2d(pixels, to_tensors(arrays)["conv.weight"].double())
    mean = to_ndarray(finished["bn.running_mean"])
    assert mean == pytest.approx(features.mean((0, 2, 3)).numpy(), abs=1e-4)
    assert finished["conv.weight"].data == arrays["conv.weight"].data
    plain = CentralEvaluation(average, open_dataset(average)).finished(arrays)
    assert {name: array.data for name, array in plain.items()} == {n: a.data for n, a in arrays.items()}


def test_recalibration_on_a_given_number_of_batches(batch_norm_model: str) -> None:
    keys = {"model__name": batch_norm_model, "batch_norm__policy": "recalibrate"}
    options = [
        {"batch_norm__batches": 50},
        {"batch_norm__batches": 2},
        {"batch_norm__batches": 2, "batch_norm__batch_size": 16},
        {"augmentation__name": "crop-flip", "augmentation__padding": 2},
        {"augmentation__name": "crop-flip", "augmentation__padding": 2, "batch_norm__augmented": True},
        {"augmentation__name": "resized-crop-flip", "batch_norm__augmented": True},
        {"augmentation__cutout": 4, "batch_norm__augmented": True},
    ]
    means = []
    for option in options:
        config = small(**keys, **option)
        evaluation = CentralEvaluation(config, open_dataset(config))
        arrays = evaluation.initial_arrays()
        means.append(to_ndarray(evaluation.finished(arrays)["bn.running_mean"]).tolist())
        assert means[-1] == to_ndarray(evaluation.finished(arrays)["bn.running_mean"]).tolist()
    assert means[3] == means[0]
    assert len({tuple(mean) for mean in means}) == 6


@pytest.mark.parametrize("name", ["mlp", "resnet20"])
def test_variants_of_the_head_are_evaluated_like_whole_models(name: str) -> None:
    config = small(model__name=name, evaluate__batch_size=100)
    evaluation = CentralEvaluation(config, open_dataset(config))
    state = to_tensors(evaluation.initial_arrays())
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(state["classifier.weight"].shape, generator=generator)
    body = next(name for name in state if name.endswith("weight"))
    variants = {
        "other": {"classifier.weight": weight},
        "same": {},
        "body": {body: -state[body]},
    }
    results = evaluation(record(state), variants)
    assert {key: results[key] for key in ("test_loss", "test_accuracy")} == evaluation(record(state))
    for variant, entries in variants.items():
        alone = evaluation(record({**state, **entries}))
        assert {key: results[f"{key}_{variant}"] for key in alone} == alone
    assert results["test_loss_other"] != results["test_loss"] == results["test_loss_same"]


def test_sharpness_is_measured_if_asked_for() -> None:
    config = small(model__name="linear", analysis__sharpness_images=50, analysis__sharpness_probes=2)
    evaluation = CentralEvaluation(config, open_dataset(config))
    arrays = evaluation.initial_arrays()
    first = evaluation(arrays)
    assert first["sharpness"] > 0
    assert evaluation(arrays) == first
    assert "sharpness" not in linear_evaluation()(arrays)


def test_o29_only_full_batches_count_if_asked() -> None:
    config = small(model__name="linear", evaluate__batch_size=100, evaluate__drop_last=True)
    dataset = open_dataset(config)
    arrays = record({"classifier.weight": torch.zeros(10, 64), "classifier.bias": BIAS})
    of_full = CentralEvaluation(config, dataset)(arrays)["test_accuracy"]
    assert len(dataset.test) == 360
    assert of_full == pytest.approx((dataset.test.targets[:300] == 4).double().mean().item(), abs=1e-12)
    assert of_full != linear_evaluation(evaluate__batch_size=100)(arrays)["test_accuracy"]
    with pytest.raises(UserError, match=r"drop-last leaves none of 360 samples: lower evaluate\.batch-size"):
        linear_evaluation(evaluate__batch_size=512, evaluate__drop_last=True)


@pytest.mark.parametrize(("drop_last", "percent"), [(True, 71.957237), (False, 71.0)])
def test_o29_counts_of_cifar10s_size(drop_last: bool, percent: float) -> None:
    # The model answers 0: 7,000 of the first 9,728 images are of class 0, and 100 of the others.
    labels = torch.ones(10_000, dtype=torch.int64)
    labels[:7000] = labels[9728:9828] = 0
    split = Split(torch.zeros(10_000, 1, 1, 1, dtype=torch.uint8), labels)
    dataset = Dataset("blank", split, None, split, 10, ("",) * 10, (0.0,), (1.0,))
    config = small(model__name="linear", evaluate__batch_size=512, evaluate__drop_last=drop_last)
    bias = torch.zeros(10).index_fill(0, torch.tensor(0), 1.0)
    arrays = record({"classifier.weight": torch.zeros(10, 1), "classifier.bias": bias})
    assert 100 * CentralEvaluation(config, dataset)(arrays)["test_accuracy"] == pytest.approx(
        percent, abs=1e-6
    )


def test_accuracies_by_class_are_those_of_the_model_and_not_of_a_variant() -> None:
    config = small(model__name="linear", evaluate__groups="cumulative")
    evaluation = CentralEvaluation(config, open_dataset(config))
    state = to_tensors(evaluation.initial_arrays())
    evaluation(record(state))
    alone = evaluation.class_rows()
    evaluation(record(state), {"other": {"classifier.weight": -state["classifier.weight"]}})
    assert evaluation.class_rows() == alone
