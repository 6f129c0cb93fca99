"""Local training: equal to a plain loop, its budget, hooks and numerical options."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch, iterate_batches
from clients.local.worker import Worker
from clients.node.state_checks import keeps_state
from common.config import Config
from common.randomness import torch_generator
from common.records import Payload, Tensors
from common.sections import Value
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from datasets.transforms import Normalizer
from models.configured import build_configured_model
from tests.clients.jobs import equal, global_model, small, train


def plain_loop(config: Config, client_id: int, server_round: int, start: Tensors) -> tuple[Tensors, float]:
    """Local SGD as anybody would write it."""
    dataset = open_dataset(config)
    indices = torch.from_numpy(partition_clients(config, dataset)[client_id])
    normalize = Normalizer(dataset.mean, dataset.std)
    model = build_configured_model(config, dataset.input_shape, dataset.num_classes)
    model.load_state_dict(start)
    model.train()
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=config.optimizer.learning_rate,
        momentum=config.optimizer.parameters["momentum"],
        weight_decay=config.optimizer.parameters["weight-decay"],
        fused=True,
    )
    shuffle = torch_generator(config.seed, "shuffle", server_round, client_id)
    total_loss, total_samples = 0.0, 0
    for batch in iterate_batches(indices, config.local, shuffle):
        inputs, targets = normalize(dataset.train.inputs[batch]), dataset.train.targets[batch]
        loss = F.cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(batch)
        total_samples += len(batch)
    return model.state_dict(), total_loss / total_samples


OPTIONS: list[dict[str, Value]] = [
    {},
    {"model__name": "linear"},
    {"local__epochs": 1},
    {"optimizer__momentum": 0.9, "optimizer__weight_decay": 0.01, "seed": 3},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("client_id", [0, 5])
def test_training_is_a_plain_loop_bit_for_bit(options: dict[str, Value], client_id: int) -> None:
    config = small(**options)
    start = global_model(config)
    result = train(Worker(config), client_id, start, server_round=4)
    expected, loss = plain_loop(config, client_id, 4, start)
    assert not equal(result.model, start)
    assert equal(result.model, {name: expected[name] for name in result.model})
    assert set(result.model) == set(expected)
    assert result.metrics["train_loss"] == pytest.approx(loss, rel=1e-12)


def test_training_with_batch_norm_is_a_plain_loop_too(batch_norm_model: str) -> None:
    config = small(model__name=batch_norm_model, optimizer__momentum=0.9)
    start = global_model(config)
    result = train(Worker(config), 1, start)
    expected, _ = plain_loop(config, 1, 1, start)
    assert equal(result.model, {name: expected[name] for name in result.model})
    assert result.model["bn.num_batches_tracked"].dtype == torch.int64
    assert result.model["bn.num_batches_tracked"].item() == 5


class TestBudget:
    class Recording(Client):
        """Notes the samples of each batch."""

        def begin_round(self) -> None:
            self.batches: list[list[int]] = []

        def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
            assert len(batch) == len(batch.indices) == len(batch.inputs) == len(batch.targets)
            self.batches.append(batch.indices.tolist())
            return super().loss(params, batch)

    def test_an_epoch_uses_every_sample_and_a_last_batch_of_one(self) -> None:
        size = len(Client(Worker(small()), 2).indices)
        config = small(local__epochs=2, local__batch_size=size - 1)
        result = train(Worker(config), 2, global_model(config), client_class=self.Recording)
        batches = result.client.batches  # type: ignore[attr-defined]
        assert [len(batch) for batch in batches] == [size - 1, 1, size - 1, 1]
        indices = sorted(result.client.indices.tolist())
        assert sorted(batches[0] + batches[1]) == indices
        assert sorted(batches[2] + batches[3]) == indices
        assert result.metrics["num-steps"] == 4
        assert result.metrics["num-examples"] == size

    def test_batches_hold_the_clients_own_normalised_samples(self) -> None:
        dataset = open_dataset(small())
        normalize = Normalizer(dataset.mean, dataset.std)

        class Checking(Client):
            def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
                assert np.isin(batch.indices.numpy(), self.indices).all()
                assert torch.equal(batch.targets, dataset.train.targets[batch.indices])
                assert torch.equal(batch.inputs, normalize(dataset.train.inputs[batch.indices]))
                return super().loss(params, batch)

        assert (
            train(Worker(small()), 1, global_model(small()), client_class=Checking).metrics["num-steps"] == 5
        )

    def test_the_learning_rate_follows_the_round(self) -> None:
        config = small(schedule__name="step", schedule__step_rounds=1, local__steps=1)
        start, worker = global_model(config), Worker(config)

        class OneBatch(Client):
            def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
                return sum((value.sum() for value in params.values()), torch.zeros(()))

        for server_round, rate in ((1, 0.1), (2, 0.01), (1, 0.1)):
            result = train(worker, 0, start, server_round, client_class=OneBatch)
            step = (start["fc1.bias"] - result.model["fc1.bias"]).double()
            assert step.numpy() == pytest.approx(rate, rel=1e-5)
            assert result.client.learning_rate == pytest.approx(rate, rel=1e-12)


class TestHooks:
    def test_they_are_called_in_order_with_what_they_need(self) -> None:
        calls: list[str] = []

        class Method(Client):
            def init_state(self) -> Payload:
                calls.append("init_state")
                return {"kept": {"n": torch.tensor(0)}}

            def begin_round(self) -> None:
                calls.append("begin_round")
                assert torch.equal(self.params["fc1.bias"], self.global_params["fc1.bias"])
                assert "kept" in self.state

            def loss(self, params: Tensors, batch: Batch) -> torch.Tensor:
                calls.append("loss")
                assert params is self.params
                return super().loss(params, batch)

            def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
                calls.append("correct_gradients")
                assert list(grads) == list(params)
                return {name: torch.zeros_like(grad) for name, grad in grads.items()}

            def after_step(self, params: Tensors) -> None:
                calls.append("after_step")

            def end_round(self, params: Tensors) -> Payload:
                calls.append("end_round")
                assert self.num_steps == 2
                self.state["kept"] = {"n": self.state["kept"]["n"] + 1}
                return {"extra": {"x": torch.ones(2)}}

        config = small(local__steps=2)
        start, worker = global_model(config), Worker(config)
        first = train(worker, 0, start, client_class=Method)
        step = ["loss", "correct_gradients", "after_step"]
        assert calls == ["init_state", "begin_round", *step, *step, "end_round"]
        assert equal(first.model, start)  # zero gradients
        assert first.sections["extra"]["x"].tolist() == [1.0, 1.0]
        assert keeps_state(first.client)
        calls.clear()
        second = train(worker, 0, start, 2, state=first.state, client_class=Method)
        assert calls[0] == "begin_round"
        assert second.state["kept"]["n"].item() == 2

    def test_corrected_gradients_are_used(self) -> None:
        class Shift(Client):
            def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
                return {name: torch.full_like(grad, 3.0) for name, grad in grads.items()}

        config = small(local__steps=2)
        start = global_model(config)
        result = train(Worker(config), 0, start, client_class=Shift)
        for name, value in start.items():
            assert (value - result.model[name]).numpy() == pytest.approx(2 * 0.1 * 3.0, abs=1e-5)

    def test_forward_with_other_parameters_leaves_the_model(self) -> None:
        worker = Worker(small(model__name="linear"))
        client = Client(worker, 0)
        inputs = torch.ones(1, *worker.dataset.input_shape)
        zeros = {name: torch.zeros_like(value) for name, value in client.params.items()}
        own = client.forward(client.params, inputs)
        assert client.forward(zeros, inputs).abs().sum() == 0
        assert torch.equal(client.forward(client.params, inputs), own)


class TestNumericalOptions:
    def test_gradients_are_clipped_to_the_norm(self) -> None:
        config = small(local__steps=1, optimizer__learning_rate=1.0, optimizer__clip_norm=0.01)
        start = global_model(config)
        result = train(Worker(config), 0, start)
        squares = sum(((result.model[name] - start[name]).double() ** 2).sum() for name in start)
        assert float(squares) ** 0.5 == pytest.approx(0.01, rel=1e-3)

    def test_small_gradients_are_not_clipped(self) -> None:
        start = global_model(small())
        clipped = train(Worker(small(optimizer__clip_norm=1e6)), 0, start)
        assert equal(clipped.model, train(Worker(small()), 0, start).model)

    @pytest.mark.parametrize(
        ("options", "tolerance", "differs"),
        [({"local__precision": "bfloat16"}, 2e-2, True), ({"local__channels_last": True}, 1e-5, False)],
    )
    def test_options_that_pay_stay_close_to_float32(
        self, options: dict[str, Value], tolerance: float, differs: bool
    ) -> None:
        keys: dict[str, Value] = {"model__name": "small-cnn", "model__dropout1": 0.0, "model__dropout2": 0.0}
        start = global_model(small(**keys))
        expected = train(Worker(small(**keys, local__steps=3)), 0, start)
        result = train(Worker(small(**keys, **options, local__steps=3)), 0, start)
        change = sum(((expected.model[name] - start[name]) ** 2).sum().item() for name in start)
        error = sum(((expected.model[name] - result.model[name]) ** 2).sum().item() for name in start)
        assert (error / change) ** 0.5 < 5 * tolerance
        assert not differs or error > 0
        assert {value.dtype for value in result.model.values()} == {torch.float32}
        assert result.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=tolerance)

    def test_channels_last_reaches_the_weights(self) -> None:
        worker = Worker(small(model__name="small-cnn", local__channels_last=True))
        assert worker.parameters["conv2.weight"].is_contiguous(memory_format=torch.channels_last)
        assert not worker.parameters["conv2.weight"].is_contiguous()
