import math

import pytest
import torch
from torch.nn import functional as F

from clients._configuration import complete
from clients.base import Client
from clients.local.batches import Batch
from clients.local.worker import Worker
from clients.moon import Moon, contrastive_loss
from clients.node.state_checks import keeps_state
from models.classifier import as_classifier
from tests.clients.jobs import equal, global_model, small, train


def term(z: list[float], *anchors: list[float]) -> float:
    rows = [torch.tensor([anchor], dtype=torch.float64) for anchor in anchors]
    return contrastive_loss(torch.tensor([z], dtype=torch.float64), rows, 0.5).item()


def test_the_term_and_its_gradient() -> None:
    assert term([1, 0], [1, 1], [0, 1]) == pytest.approx(0.2176217216, abs=1e-9)
    z = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    anchors = [torch.tensor([row], dtype=torch.float64) for row in ([1.0, 1.0], [0.0, 1.0])]
    contrastive_loss(z, anchors, 0.5).backward()
    assert z.grad is not None
    # By hand: the cosines' gradients are (0, 1 / sqrt 2) and (0, 1), the softmax weights p = e^{-term}.
    p = math.exp(-0.2176217216)
    by_hand = (1 - p) * 2 * (1 - 1 / math.sqrt(2))
    assert z.grad.tolist()[0] == pytest.approx([0.0, by_hand], abs=1e-8)
    assert by_hand == pytest.approx(0.1146, abs=5e-5)


def test_equal_anchors_give_ln_2_and_no_gradient() -> None:
    z = torch.tensor([[0.3, -2.0]], dtype=torch.float64, requires_grad=True)
    anchor = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    loss = contrastive_loss(z, [anchor, anchor], 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0.6931471806, abs=1e-9)
    assert z.grad is not None
    assert z.grad.abs().max().item() < 1e-15


def test_two_previous_models() -> None:
    assert term([3, 4], [4, 3], [-3, 4], [0, 1]) == pytest.approx(0.6845149367, abs=1e-9)


class TestRounds:
    CONFIG = small(model__projection=16, model__name="mlp")

    def test_the_first_round_and_mu_zero_are_fedavg(self) -> None:
        worker, start = Worker(self.CONFIG), global_model(self.CONFIG)

        class NoTerm(Moon):
            mu = 0.0

        plain = train(worker, 0, start)
        first = train(worker, 0, start, client_class=Moon)
        assert equal(first.model, plain.model)
        second = train(worker, 0, start, 2, state=first.state, client_class=NoTerm)
        assert equal(second.model, train(worker, 0, start, 2).model)

    def test_the_term_acts_from_the_second_round_on_and_only_through_the_embedding(self) -> None:
        worker, start = Worker(self.CONFIG), global_model(self.CONFIG)
        first = train(worker, 0, start, client_class=Moon)
        second = train(worker, 0, start, 2, state=first.state, client_class=Moon)
        assert not equal(second.model, train(worker, 0, start, 2).model)

    def test_the_previous_model_is_the_one_of_the_last_participation(self) -> None:
        worker, start = Worker(self.CONFIG), global_model(self.CONFIG)
        first = train(worker, 0, start, client_class=Moon)
        assert equal(first.state["previous-0"], first.model)
        second = train(worker, 0, start, 5, state=first.state, client_class=Moon)
        assert equal(second.state["previous-0"], second.model)
        assert "previous-1" not in second.state

    def test_two_previous_models_shift_from_newest_to_oldest(self) -> None:
        class Two(Moon):
            previous_models = 2

        worker, start = Worker(self.CONFIG), global_model(self.CONFIG)
        first = train(worker, 0, start, client_class=Two)
        second = train(worker, 0, start, 2, state=first.state, client_class=Two)
        third = train(worker, 0, start, 3, state=second.state, client_class=Two)
        assert equal(third.state["previous-0"], third.model)
        assert equal(third.state["previous-1"], second.model)

    def test_frozen_models_are_in_evaluation_mode(self, batch_norm_model: str) -> None:
        """BatchNorm statistics move as often as the model trains: once a step, not three times."""
        config = small(model__name=batch_norm_model, model__projection=8, local__steps=5)
        worker, start = Worker(config), global_model(config)
        first = train(worker, 0, start, client_class=Moon)
        second = train(worker, 0, start, 2, state=first.state, client_class=Moon)
        assert second.model["bn.num_batches_tracked"].item() == 5
        assert all(value.grad is None for value in second.state["previous-0"].values())

    @pytest.mark.parametrize("policy", ["average", "local"])
    def test_the_anchor_has_batch_norm_statistics_of_the_client_if_they_are_local(
        self, policy: str, batch_norm_model: str
    ) -> None:
        worker = Worker(small(model__name=batch_norm_model, batch_norm__policy=policy))
        start = global_model(worker.config)
        first = train(worker, 0, start, client_class=Moon)
        client = Moon(worker, 0, dict(first.state))
        client.received = {"arrays": start}
        inputs, targets = worker.normalizer(worker.train.inputs[:8]), worker.train.targets[:8]
        own = {name: value for name, value in first.model.items() if name in worker.buffers}
        model, previous, losses = as_classifier(worker.model), first.state["previous-0"], []
        for statistics in ({}, own):
            anchors = []
            for state in ({**start, **statistics}, previous):
                worker.load(state)
                anchors.append(model.eval().embed(inputs).detach())
            worker.load(first.model)
            z, logits = client.features_and_logits(client.params, inputs)
            loss = F.cross_entropy(logits, targets) + client.mu * contrastive_loss(z, anchors, 0.5)
            losses.append(loss.item())
        assert losses[0] != pytest.approx(losses[1], rel=1e-4)
        found = client.loss(client.params, Batch(inputs, targets, targets)).item()
        assert found == pytest.approx(losses[policy == "local"], rel=1e-6)


def test_the_projection_is_there_without_asking() -> None:
    config = complete(small(method__name="moon"))
    assert config.model.parameters["projection"] == 256
    assert complete(small(method__name="moon", model__projection=8)).model.parameters["projection"] == 8
    assert "projection" not in complete(small()).model.parameters
    model = as_classifier(Worker(config).model)
    assert model.classifier.in_features == 256
    assert model.embed(torch.zeros(2, 1, 8, 8)).shape == (2, 256)


def test_moon_is_fedavg_with_state() -> None:
    assert keeps_state(Moon(Worker(small()), 0))
    assert not keeps_state(Client(Worker(small()), 0))
