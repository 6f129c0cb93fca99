from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

import clients.local.evaluation
from clients.base import Client
from clients.local.worker import Worker
from common.errors import UserError
from common.records import Tensors
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from tests.clients.jobs import equal, global_model, small, train
from tests.clients.outside import Halved, SendsUnknown

ROUND = ConfigRecord({"server-round": 1})


class TestTest:
    """A model that always answers the same: frequencies times constants."""

    BIAS = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.25, 0.75, -0.5, 1.5])

    def constant_model(self, bias: torch.Tensor) -> Tensors:
        model = global_model(small(model__name="linear"))
        return {"classifier.weight": torch.zeros_like(model["classifier.weight"]), "classifier.bias": bias}

    @pytest.mark.parametrize("client_id", range(3))
    def test_classes_are_weighted_by_the_clients_own_frequencies(self, client_id: int) -> None:
        config = small(model__name="linear", partition__alpha=0.2, evaluate__batch_size=50)
        dataset = open_dataset(config)
        indices = partition_clients(config, dataset)[client_id]
        counts = np.bincount(dataset.train.targets.numpy()[indices], minlength=10)
        frequencies = counts / counts.sum()
        log_probabilities = torch.log_softmax(self.BIAS.double(), dim=0).numpy()

        metrics = Client(Worker(config), client_id).test({"arrays": self.constant_model(self.BIAS)}, ROUND)
        assert metrics["num-examples"] == len(indices)
        assert metrics["accuracy"] == pytest.approx(frequencies[4], abs=1e-9)
        assert metrics["loss"] == pytest.approx(-(frequencies * log_probabilities).sum(), rel=1e-6)

    def test_one_pass_over_the_test_set_serves_all_clients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        passes: list[int] = []
        evaluate = clients.local.evaluation.evaluate

        def counting(*arguments: Any, **options: Any) -> Any:
            passes.append(1)
            return evaluate(*arguments, **options)

        monkeypatch.setattr(clients.local.evaluation, "evaluate", counting)
        worker, model = Worker(small()), global_model(small())
        together = [Client(worker, client_id).test({"arrays": model}, ROUND) for client_id in range(6)]
        assert len(passes) == 1
        alone = [Client(Worker(small()), client_id).test({"arrays": model}, ROUND) for client_id in range(6)]
        assert together == alone
        other = {name: value.clone() + 0.1 for name, value in model.items()}
        assert Client(worker, 0).test({"arrays": other}, ROUND) != together[0]
        assert Client(worker, 0).test({"arrays": model}, ROUND) == together[0]

    def test_the_training_flag_comes_back(self) -> None:
        worker = Worker(small())
        for training in (True, False):
            worker.model.train(training)
            Client(worker, 0).test({"arrays": global_model(small())}, ROUND)
            assert worker.model.training is training

    def test_a_personal_model_is_evaluated_and_does_not_stay(self) -> None:
        worker = Worker(small(model__name="linear"))
        counts = Client(worker, 0).label_counts()
        favourite = int(counts.argmax())
        assert favourite != int(self.BIAS.argmax())
        one_hot = torch.nn.functional.one_hot(torch.tensor(favourite), 10).float() * 50

        class Personal(Client):
            def personal_model(self) -> Tensors:
                return {"classifier.bias": one_hot}

        received = {"arrays": self.constant_model(self.BIAS)}
        shared = Client(worker, 0).test(received, ROUND)
        personal = Personal(worker, 0).test(received, ROUND)
        expected = float(counts[favourite] / counts.sum())
        assert personal["personal_accuracy"] == pytest.approx(expected, abs=1e-6)
        assert personal["accuracy"] == shared["accuracy"] != personal["personal_accuracy"]
        assert "personal_accuracy" not in shared
        assert Client(worker, 0).test(received, ROUND) == shared

    def test_evaluating_does_not_change_buffers(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model)
        worker, model = Worker(config), global_model(config)
        Client(worker, 0).test({"arrays": model}, ROUND)
        assert equal({name: value.detach() for name, value in worker.model_state.items()}, model)


def test_end_round_may_send_other_entries_of_the_model() -> None:
    """Half of what is kept and of the change; the rest is kept."""
    config = small()
    worker, start = Worker(config), global_model(config)
    trained = train(worker, 1, start).model
    result = train(worker, 1, start, client_class=Halved)
    for name, value in result.model.items():
        torch.testing.assert_close(value - start[name], (trained[name] - start[name]) / 2)
        torch.testing.assert_close(result.state["rest"][name], value - start[name])


def test_it_may_send_no_others() -> None:
    config = small()
    with pytest.raises(UserError, match=r"'arrays' replaces .* 'no-entry' is not one of them"):
        train(Worker(config), 1, global_model(config), client_class=SendsUnknown)


def test_features_and_logits_are_those_of_the_given_weights() -> None:
    """The gradient at other weights has a head, too, which the resident model's would not have."""
    worker = Worker(small(model__name="mlp"))
    client, inputs = Client(worker, 0), torch.rand(3, 1, 8, 8)
    features, logits = client.features_and_logits(client.params, inputs)
    assert torch.equal(logits, worker.model(inputs))
    assert client.logits is not None
    assert torch.equal(client.logits, logits)
    doubled = {name: (2 if name.startswith("classifier") else 1) * v for name, v in client.params.items()}
    again, twice = client.features_and_logits(doubled, inputs)
    assert torch.equal(again, features)
    torch.testing.assert_close(twice, 2 * logits)
    assert torch.equal(client.logits, logits)
