"""kNN-Per: neighbours, mixture and the choice of the weight."""

import pytest
import torch
from flwr.app import ConfigRecord

from clients.knn_per import KnnPer, mixed_log_probabilities
from clients.local.worker import Worker
from tests.clients.jobs import global_model, small
from tests.methods.quadratics import close


class TestKnnPer:
    STORE = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], dtype=torch.float64)

    def client(self, **parameters: object) -> KnnPer:
        return KnnPer(Worker(small()), 0, {}, {"neighbours": 2, **parameters})

    def test_neighbours_and_mixture(self) -> None:
        query = torch.zeros(1, 2, dtype=torch.float64)
        p = self.client().knn_probabilities(query, self.STORE, torch.tensor([0, 1, 1]))
        assert p[0, :2].tolist() == close(0.7310585786, 0.2689414214)
        assert p[0, 2:].sum().item() == 0
        own = torch.tensor([0.0, 1.0], dtype=torch.float64).softmax(0)
        mixed = 0.7 * p[0, :2] + 0.3 * own
        assert mixed.tolist() == close(0.5924234315, 0.4075765685)

    def test_the_mixture_is_what_predicts(self) -> None:
        client = self.client(fixed_mix=0.7)
        features, logits, targets = client._forward_all()
        inputs = client.worker.normalizer(client.worker.train.inputs[client.indices[:5]])
        expected = 0.7 * client.knn_probabilities(features[:5], features, targets) + 0.3 * logits[:5].softmax(
            1
        )
        got = client.personal_predictor()(inputs).exp()
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-9)

    @pytest.mark.parametrize(
        ("mix", "expected"), [(0.0, -800.0), (0.5, -800.0 - 0.6931471806), (1.0, -69.0775527898)]
    )
    def test_the_logarithm_of_what_is_next_to_nothing(self, mix: float, expected: float) -> None:
        """e^-800 is no floating-point number; without neighbours and logits a class has probability 1e-30."""
        neighbours = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
        logits = torch.tensor([[800.0, 0.0]], dtype=torch.float64)
        got = mixed_log_probabilities(mix, neighbours, logits)
        assert got[0].tolist() == pytest.approx([0.0, expected], abs=1e-9)

    def test_neighbours_at_any_distance(self) -> None:
        p = self.client(scale=1e-300).knn_probabilities(
            1e10 + self.STORE, self.STORE, torch.tensor([0, 1, 1])
        )
        assert p.sum(1).tolist() == close(1.0, 1.0, 1.0)

    def test_mix_zero_is_the_global_model(self) -> None:
        config = small()
        model = global_model(config)
        received = {"arrays": model}
        metrics = self.client(fixed_mix=0.0).test(received, ConfigRecord({"server-round": 1}))
        assert metrics["personal_accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-12)
        assert metrics["personal_loss"] == pytest.approx(metrics["loss"], rel=1e-5)

    def test_useless_neighbours_are_not_used(self) -> None:
        client = self.client()
        targets = torch.arange(40) % 10
        logits = 20.0 * torch.nn.functional.one_hot(targets, 10).double()
        noise = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        assert client._best_mix(noise, logits, targets) == 0.0
        clusters = torch.nn.functional.one_hot(targets, 10).double()
        assert client._best_mix(clusters, torch.zeros(40, 10, dtype=torch.float64), targets) > 0

    def test_more_neighbours_than_samples(self) -> None:
        p = self.client(neighbours=50).knn_probabilities(self.STORE, self.STORE, torch.tensor([0, 1, 1]))
        assert p.sum(1).tolist() == close(1.0, 1.0, 1.0)

    def test_the_store_has_noisy_labels_the_same_in_every_round(self) -> None:
        client = KnnPer(Worker(small(dataset__label_noise=0.4)), 0, {}, {})
        stored = [client._forward_all()[2] for client.server_round in (1, 2)]
        assert torch.equal(*stored)
        true = client.worker.train.targets[torch.from_numpy(client.indices)]
        assert 0.2 < (stored[0] != true).double().mean() < 0.6
