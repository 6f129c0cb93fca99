import random
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord
from torch.nn import functional as F

from clients.base import Client
from clients.local.batches import Batch, iterate_batches
from clients.local.worker import Worker
from common import chosen
from common.config import Config
from common.randomness import torch_generator
from common.records import Payload, Tensors, to_record, to_tensors
from common.sections import Value
from datasets.configured import open_dataset
from datasets.partition_scheme import partition_clients
from datasets.transforms import Normalizer
from models.configured import build_configured_model
from tests.clients.jobs import Result, equal, global_model, small, train


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


class TestIsolation:
    """What a job computes does not depend on what ran on the worker before."""

    @pytest.mark.parametrize(
        "options",
        [
            {"optimizer__momentum": 0.9},
            {"optimizer__name": "adamw"},
            {"model__name": "small-cnn", "augmentation__name": "crop-flip", "augmentation__padding": 1},
            {"model__name": "tiny-batch-norm"},
            {"model__name": "tiny-batch-norm", "batch_norm__policy": "local"},
        ],
    )
    def test_another_client_before_changes_nothing(
        self, options: dict[str, Value], batch_norm_model: str
    ) -> None:
        config = small(local__steps=3, **options)
        start = global_model(config)
        alone = train(Worker(config), 1, start, server_round=2)
        used = Worker(config)
        train(used, 0, start, server_round=2)
        train(used, 3, start, server_round=1)
        after_others = train(used, 1, start, server_round=2)
        assert equal(after_others.model, alone.model)
        assert after_others.metrics["train_loss"] == alone.metrics["train_loss"]
        again = train(used, 1, start, server_round=2)
        assert equal(again.model, alone.model)

    def test_an_evaluation_before_changes_nothing(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model)
        start = global_model(config)
        alone = train(Worker(config), 1, start)
        used = Worker(config)
        Client(used, 0).test({"arrays": start}, ConfigRecord({"server-round": 1}))
        assert equal(train(used, 1, start).model, alone.model)

    def test_the_global_generators_neither_matter_nor_change(self) -> None:
        config = small(
            model__name="small-cnn",
            augmentation__name="crop-flip",
            augmentation__padding=1,
            local__steps=2,
        )
        start, worker = global_model(config), Worker(config)

        def states() -> tuple[Any, ...]:
            numpy_state: Any = np.random.get_state()  # noqa: NPY002
            return random.getstate(), numpy_state[1].tolist(), numpy_state[2], torch.get_rng_state().tolist()

        before = states()
        first = train(worker, 0, start)
        assert states() == before
        torch.rand(3)
        assert equal(train(worker, 0, start).model, first.model)

    def test_training_sets_the_training_mode(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model)
        start, worker = global_model(config), Worker(config)
        expected = train(worker, 0, start)
        worker.model.eval()
        assert equal(train(worker, 0, start).model, expected.model)

    @pytest.mark.parametrize("change", [{"seed": 1}, {"server_round": 2}, {"client_id": 1}])
    def test_seed_round_and_client_draw_their_own_augmentation(
        self, change: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seeds: list[int] = []

        def record(inputs: torch.Tensor, generator: torch.Generator, *, padding: int = 0) -> torch.Tensor:
            assert padding == 2
            seeds.append(generator.initial_seed())
            return inputs

        monkeypatch.setattr("datasets.augmentations.crop_flip.augment", record)
        monkeypatch.setattr(chosen, "_function", chosen._function.__wrapped__)  # leaves the cache alone
        for job in ({}, change):
            config = small(
                seed=job.get("seed", 0),
                augmentation__name="crop-flip",
                augmentation__padding=2,
                local__steps=1,
            )
            train(Worker(config), job.get("client_id", 0), global_model(config), job.get("server_round", 1))
        assert len(set(seeds)) == 2

    @pytest.mark.parametrize("change", [{"seed": 1}, {"server_round": 2}, {"client_id": 1}])
    def test_seed_round_and_client_draw_their_own_dropout(self, change: dict[str, int]) -> None:
        drawn: list[float] = []

        class Drawing(Client):
            def begin_round(self) -> None:
                drawn.append(torch.rand((), generator=self.generator("dropout")).item())

        for job in ({}, change):
            config = small(seed=job.get("seed", 0), local__steps=1)
            train(
                Worker(config),
                job.get("client_id", 0),
                global_model(config),
                job.get("server_round", 1),
                client_class=Drawing,
            )
        assert drawn[0] != drawn[1]

    def test_dropout_is_active_in_training(self) -> None:
        start = global_model(small(model__name="small-cnn"))
        keys: dict[str, Value] = {"model__name": "small-cnn", "local__steps": 1}
        with_dropout = train(Worker(small(**keys)), 0, start)
        without = train(Worker(small(**keys, model__dropout1=0.0, model__dropout2=0.0)), 0, start)
        assert not equal(with_dropout.model, without.model)

    def test_augmentation_changes_the_batches(self) -> None:
        start = global_model(small())
        augmented = small(augmentation__name="crop-flip", augmentation__padding=1)
        assert not equal(train(Worker(augmented), 0, start).model, train(Worker(small()), 0, start).model)

    def test_nothing_received_is_written_to(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, optimizer__weight_decay=0.1)
        record = to_record(global_model(config))
        before = {name: bytes(bytearray(array.data)) for name, array in record.items()}
        received = to_tensors(record)
        result = train(Worker(config), 0, received)
        Client(Worker(config), 0).test({"arrays": received}, ConfigRecord({"server-round": 1}))
        assert not equal(result.model, received)
        assert {name: array.data for name, array in record.items()} == before


class TestBatchNormPolicy:
    class Watching(Client):
        """Notes the buffers with which a round's training starts."""

        def begin_round(self) -> None:
            self.before = {name: value.clone() for name, value in self.worker.buffers.items()}

    def rounds(self, config: Config) -> tuple[Tensors, Result, Result, Result]:
        worker, start = Worker(config), global_model(config)
        first = train(worker, 0, start, 1, client_class=self.Watching)
        other = train(worker, 1, start, 1, client_class=self.Watching)
        second = train(worker, 0, start, 2, state=first.state, client_class=self.Watching)
        return start, first, other, second

    @staticmethod
    def buffers(model: Tensors) -> Tensors:
        return {name: value for name, value in model.items() if name.startswith("bn.") and "_" in name}

    def test_local_buffers_stay_with_their_client(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy="local")
        start, first, other, second = self.rounds(config)
        assert equal(first.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert equal(other.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert equal(second.client.before, self.buffers(first.model))  # type: ignore[attr-defined]
        assert second.model["bn.num_batches_tracked"].item() == 10
        assert first.client.keeps_state()
        assert equal(first.state["kept-entries"], self.buffers(first.model))

    def test_what_is_kept_is_a_copy(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy="local")
        worker, start = Worker(config), global_model(config)
        first = train(worker, 0, start)
        kept = {name: value.clone() for name, value in first.state["kept-entries"].items()}
        train(worker, 1, start)
        assert equal(first.state["kept-entries"], kept)

    @pytest.mark.parametrize("policy", ["average", "recalibrate"])
    def test_otherwise_a_round_starts_with_those_of_the_server(
        self, batch_norm_model: str, policy: str
    ) -> None:
        config = small(model__name=batch_norm_model, batch_norm__policy=policy)
        start, first, _, second = self.rounds(config)
        assert equal(second.client.before, self.buffers(start))  # type: ignore[attr-defined]
        assert first.state == {}
        assert not first.client.keeps_state()

    def test_without_batch_norm_there_is_nothing_to_keep(self) -> None:
        result = train(Worker(small(batch_norm__policy="local")), 0, global_model(small()))
        assert result.state == {}
        assert not result.client.keeps_state()


class TestGradientElsewhere:
    def test_it_leaves_the_running_statistics_alone(self, batch_norm_model: str) -> None:
        config = small(model__name=batch_norm_model)

        class Curious(Client):
            def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
                self.gradient_at({name: value + 1 for name, value in params.items()}, self.batch)
                return grads

        start = global_model(config)
        curious = train(Worker(config), 0, start, client_class=Curious)
        assert equal(curious.model, train(Worker(config), 0, start).model)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_it_has_the_precision_of_training(self, precision: str) -> None:
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

    def test_one_sample_has_no_batch_statistics(self, batch_norm_model: str) -> None:
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
        assert first.client.keeps_state()
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
