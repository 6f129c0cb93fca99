"""What a job computes does not depend on what ran on the worker before."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

from clients.base import Client
from clients.local.worker import Worker
from common import chosen
from common.records import to_record, to_tensors
from common.sections import Value
from tests.clients.jobs import equal, global_model, small, train


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
