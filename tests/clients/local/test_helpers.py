"""What hooks may call."""

import pytest
import torch

from clients.base import Client
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.records import Tensors
from tests.clients.jobs import equal, global_model, small, train


def test_a_gradient_elsewhere_leaves_the_running_statistics_alone(batch_norm_model: str) -> None:
    config = small(model__name=batch_norm_model)

    class Curious(Client):
        def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
            self.gradient_at({name: value + 1 for name, value in params.items()}, self.batch)
            return grads

    start = global_model(config)
    curious = train(Worker(config), 0, start, client_class=Curious)
    assert equal(curious.model, train(Worker(config), 0, start).model)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gradient_elsewhere_has_the_precision_of_training(precision: str) -> None:
    config = small(local__precision=precision)
    seen: list[torch.dtype] = []

    class Recording(Client):
        def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
            seen.append(self.forward(params, batch.inputs).dtype)
            return super().loss(params, batch)

        def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
            return self.gradient_at(params, self.batch)

    train(Worker(config), 0, global_model(config), client_class=Recording)
    assert seen == [getattr(torch, precision)] * 10


def test_one_sample_has_no_batch_statistics(batch_norm_model: str) -> None:
    config = small(model__name=batch_norm_model)
    seen: list[tuple[int, bool]] = []

    class Recording(Client):
        def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
            seen.append((len(batch), self.worker.batch_norm_layers[0].training))
            return super().loss(params, batch)

        def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
            batch = self.batch
            self.gradient_at(params, Batch(batch.inputs[:1], batch.targets[:1], batch.indices[:1]))
            return grads

    train(Worker(config), 0, global_model(config), client_class=Recording)
    assert seen == [(16, True), (1, False)] * 5
