"""Ditto in closed form, in float64, and its relations to FedAvg and to local training."""

import pytest
import torch

from clients.ditto import Ditto
from clients.local.worker import Worker
from common.errors import UserError
from common.records import Tensors
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.quadratics import LR, Federation, close


class TestDitto:
    def test_the_personal_model_is_tied_to_the_global_one(self) -> None:
        for steps, expected in ((1, 1.1), (2, 1.17)):
            federation = Federation("ditto", [(1, 4)], [steps], start=[0.0], local=LR, lam=2.0)
            federation.clients[0].state = {"personal": {"w": torch.tensor([1.0], dtype=torch.float64)}}
            federation.round()
            assert federation.clients[0].state["personal"]["w"].tolist() == close(expected)

    def test_lam_zero_is_local_training(self) -> None:
        federation = Federation("ditto", [(1.0, 4.0), (2.0, -1.0)], [2, 2], local=LR, lam=0.0)
        alone = Federation("local-only", [(1.0, 4.0), (2.0, -1.0)], [2, 2], local=LR)
        for _ in range(3):
            federation.round()
            alone.run_round()
        for mine, its in zip(federation.clients, alone.clients, strict=True):
            assert equal(mine.state["personal"], its.state["kept-entries"])

    def test_the_global_model_is_fedavgs(self) -> None:
        quadratics = [(1.0, 4.0), (2.0, -1.0)]
        ditto = Federation("ditto", quadratics, [3, 3], local=LR)
        average = Federation("fedavg", quadratics, [3, 3], local=LR)
        for _ in range(3):
            assert ditto.round() == average.round()

    def test_its_steps_can_be_others_than_the_budget(self) -> None:
        federation = Federation("ditto", [(1, 4)], [1], start=[0.0], local=LR, lam=2.0, personal_steps=2)
        federation.clients[0].state = {"personal": {"w": torch.tensor([1.0], dtype=torch.float64)}}
        federation.round()
        assert federation.clients[0].state["personal"]["w"].tolist() == close(1.17)

    def test_a_straggler_is_late_with_its_own_model_too(self) -> None:
        worker = Worker(small(local__steps=20, stragglers__fraction=0.999))
        batches: list[bool] = []

        class Counting(Ditto):
            def after_step(self, params: Tensors) -> None:
                batches.append(self.is_personal_phase)

        result = train(worker, 0, global_model(worker.config), client_class=Counting)
        steps = int(result.metrics["num-steps"])
        assert steps < 20
        assert batches == [False] * steps + [True] * steps

    def test_reported_samples_are_those_of_the_global_models_steps(self) -> None:
        worker = Worker(small(local__steps=2, local__batch_size=8))

        class Longer(Ditto):
            personal_steps = 5

        metrics = train(worker, 0, global_model(worker.config), client_class=Longer).metrics
        assert (metrics["num-steps"], metrics["num-samples"]) == (2, 16)

    def test_a_step_that_overshoots_is_refused(self) -> None:
        federation = Federation("ditto", [(1, 4)], [1], local={"optimizer.learning-rate": 0.5}, lam=2.0)
        with pytest.raises(UserError, match=r"optimizer\.learning-rate \* method\.lam"):
            federation.clients[0].validate()
