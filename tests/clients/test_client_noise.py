"""``dataset.client-noise`` on clients and in the central evaluation."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord

import clients.local.job
from clients.base import Client
from clients.knn_per import KnnPer
from clients.local.worker import Worker
from common.errors import UserError
from common.records import to_tensors
from datasets.configured import open_dataset
from server.evaluation import CentralEvaluation
from tests.clients.jobs import equal, global_model, small, train
from tests.common.configs import make_config
from tests.conftest import Runner
from tests.strategies.messages import record

SIGMA = 0.5


def noisy_worker(**keys: Any) -> Worker:
    return Worker(small(dataset__client_noise=SIGMA, **keys))


def inputs_of(worker: Worker, client_id: int, server_round: int) -> torch.Tensor:
    """What the model sees in the first batches of a client's training."""
    seen = []

    class Watching(Client):
        def loss(self, params: Any, batch: Any) -> torch.Tensor:
            seen.append(batch.inputs.clone())
            return super().loss(params, batch)

    train(worker, client_id, global_model(worker.config), server_round, client_class=Watching)
    return torch.cat(seen)


def test_training_noise_has_the_clients_level_and_is_fresh_in_every_round() -> None:
    clean, noisy = Worker(small()), noisy_worker()
    std = clean.dataset.std[0]
    assert torch.equal(inputs_of(noisy, 0, 1), inputs_of(clean, 0, 1))
    for client_id in (1, 3, 5):
        noise = (inputs_of(noisy, client_id, 1) - inputs_of(clean, client_id, 1)) * std
        assert noise.std().item() == pytest.approx(SIGMA * client_id / 5, rel=0.05)
        assert noise.mean().abs() < 0.05
        again = (inputs_of(noisy, client_id, 1) - inputs_of(clean, client_id, 1)) * std
        assert torch.equal(noise, again)
        other = (inputs_of(noisy, client_id, 2) - inputs_of(clean, client_id, 2)) * std
        assert (noise * other).mean().abs() < 0.05 * noise.var()


def test_a_client_does_not_depend_on_others(batch_norm_model: str) -> None:
    worker = noisy_worker(model__name=batch_norm_model)
    model = global_model(worker.config)
    first = train(worker, 4, model).model
    train(worker, 2, model)
    assert equal(train(worker, 4, model).model, first)


def test_without_noise_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("made a noisy normalizer")

    monkeypatch.setattr(clients.local.job, "NoisyNormalizer", fail)
    worker = Worker(small())
    assert Client(worker, 5).normalizer("noise", 1) is worker.normalizer


def test_a_clients_evaluation_has_its_own_noise() -> None:
    worker, clean = noisy_worker(model__name="linear"), Worker(small(model__name="linear"))
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))
    model = {"classifier.weight": weight, "classifier.bias": torch.zeros(10)}

    def losses(worker: Worker, server_round: int = 1) -> list[float]:
        config = ConfigRecord({"server-round": server_round})
        return [Client(worker, client).test({"arrays": model}, config)["loss"] for client in range(6)]

    noisy, plain = losses(worker), losses(clean)
    assert noisy[0] == plain[0]
    assert noisy == losses(worker, server_round=2)
    assert noisy[5] - plain[5] > noisy[2] - plain[2] > 0


def test_the_global_model_and_the_clients_own_see_the_same_noise() -> None:
    worker = noisy_worker(model__name="linear")
    client = KnnPer(worker, 5, {}, {"fixed_mix": 0.0})  # predicts as the global model does
    result = client.test({"arrays": global_model(worker.config)}, ConfigRecord({"server-round": 1}))
    assert result["personal_loss"] == pytest.approx(result["loss"], rel=1e-5)


def test_measurements_have_noise_that_is_not_the_trainings() -> None:
    client = Client(noisy_worker(), 5)
    client.server_round = 1
    image = client.worker.train.inputs[:3]
    measured = client.normalizer("measurement", 1)(image)
    assert not torch.equal(measured, client.normalizer("noise", 1)(image))
    assert torch.equal(measured, client.normalizer("measurement", 1)(image))
    config = ConfigRecord({"server-round": 1, "one-batch": False})
    query = client.training_loss({"arrays": global_model(client.worker.config)}, config)
    clean = Client(Worker(small()), 5)
    assert query != clean.training_loss({"arrays": global_model(client.worker.config)}, config)


@pytest.mark.parametrize("batch_size", [1000, 7])
def test_central_evaluation_is_on_the_mixture(batch_size: int) -> None:
    keys = {"model__name": "linear", "dataset__validation_fraction": 0.2, "evaluate__batch_size": batch_size}
    config = small(dataset__client_noise=SIGMA, **keys)
    evaluation = CentralEvaluation(config, open_dataset(config))
    model = record(
        {
            "classifier.weight": torch.randn(10, 64, generator=torch.Generator().manual_seed(0)),
            "classifier.bias": torch.zeros(10),
        }
    )
    results = evaluation(model)
    assert evaluation(model) == results  # the same noise in every round
    dataset = open_dataset(config)
    noise = (
        evaluation._measurer.splits["test"].inputs
        - CentralEvaluation(small(**keys), dataset)._normalizer(dataset.test.inputs)
    ) * dataset.std[0]
    spread = [noise[client::6].std().item() for client in range(6)]
    assert spread == pytest.approx([SIGMA * client / 5 for client in range(6)], rel=0.05, abs=1e-6)
    plain = CentralEvaluation(small(**keys), dataset)(model)
    assert results["test_loss"] > plain["test_loss"]
    assert results["validation_loss"] > plain["validation_loss"]
    assert results == CentralEvaluation(config, dataset)(model)  # a resumed run sees the same images


def test_recalibrated_statistics_are_those_of_noisy_images(batch_norm_model: str) -> None:
    keys = {"model__name": batch_norm_model, "batch_norm__policy": "recalibrate", "evaluate__batch_size": 500}
    config = small(dataset__client_noise=SIGMA, **keys)
    evaluation = CentralEvaluation(config, open_dataset(config))
    noisy = to_tensors(evaluation.finished(evaluation.initial_arrays()))
    again = to_tensors(evaluation.finished(evaluation.initial_arrays()))
    clean = CentralEvaluation(small(**keys), open_dataset(config))
    plain = to_tensors(clean.finished(clean.initial_arrays()))
    assert torch.equal(noisy["bn.running_var"], again["bn.running_var"])
    assert (noisy["bn.running_var"] > 1.1 * plain["bn.running_var"]).all()


def model_hash(run_directory: Path) -> str:
    return str(json.loads((run_directory / "summary.json").read_text())["model_sha256"])


def test_noisy_runs_repeat_and_resume(run_small: Runner) -> None:
    options = {"dataset__client_noise": 0.3, "model__name": "linear", "clients__evaluate_fraction": 0.5}
    whole = run_small("whole", rounds=4, **options)
    run_small("parts", rounds=2, **options)
    assert model_hash(run_small("parts", rounds=4, run__resume=True, **options)) == model_hash(whole)
    assert model_hash(run_small("clean", rounds=4, model__name="linear")) != model_hash(whole)


def test_sigma_must_not_be_negative() -> None:
    with pytest.raises(UserError, match=r"dataset\.client-noise must be greater than or equal to 0"):
        make_config({"dataset.client-noise": -0.1})
