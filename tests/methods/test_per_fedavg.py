"""Per-FedAvg in closed form, in float64."""

import pytest
import torch

from clients.base import Client
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.records import Tensors
from tests.clients.jobs import global_model, small, train
from tests.methods.quadratics import LR, Federation, close


class TestPerFedAvg:
    TARGETS = (3.0, 0.0, 5.0)  # of the batches D, D', D''

    def federation(self, local_lr: float = 0.5, **parameters: object) -> Federation:
        federation = Federation(
            "per-fedavg", [(2, 0)], [1], start=[1.0], local={"optimizer.learning-rate": local_lr}
        )
        client = federation.clients[0]
        vars(client).update({"inner_learning_rate": 0.1, **parameters})
        return federation

    @pytest.mark.parametrize(("variant", "expected"), [("first-order", 0.3), ("hessian-free", 0.44)])
    def test_quadratics(self, variant: str, expected: float) -> None:
        h = {"first-order": (2.0, 1.0), "hessian-free": (2.0, 1.0, 2.0, 2.0)}[variant]
        b = (3.0, 0.0, 5.0, 5.0)
        calls = iter(zip(h, b, strict=False))
        federation = self.federation(variant=variant)

        def loss(params: Tensors, batch: Batch) -> torch.Tensor:
            curvature, centre = next(calls)
            return (curvature / 2 * (params["w"] - centre) ** 2).sum()

        federation.clients[0].loss = loss  # type: ignore[method-assign]
        assert federation.round() == pytest.approx([expected], abs=1e-9)
        assert next(calls, None) is None

    @pytest.mark.parametrize(
        ("variant", "expected"), [("first-order", 0.6355), ("hessian-free", 0.7448500194)]
    )
    def test_quartic(self, variant: str, expected: float) -> None:
        federation = self.federation(variant=variant)
        federation.clients[0].loss = lambda params, batch: (params["w"] ** 4 / 4).sum()  # type: ignore[method-assign]
        assert federation.round() == close(expected)

    def test_without_inner_step_it_is_sgd(self) -> None:
        meta = self.federation(0.1, inner_learning_rate=0.0, variant="hessian-free")
        plain = Federation("fedavg", [(2, 0)], [1], start=[1.0], local=LR)
        for _ in range(3):
            assert meta.round() == pytest.approx(plain.round(), abs=1e-12)

    def test_batches_are_independent_of_each_other(self) -> None:
        seen: list[list[int]] = []

        class Recording(Client):
            def begin_round(self) -> None:
                self.batches = self.extra_batches()

            def correct_gradients(self, params: Tensors, grads: Tensors) -> Tensors:
                seen.append(self.batch.indices.tolist())
                seen.append(next(self.batches).indices.tolist())
                return grads

        train(Worker(small(local__steps=3)), 0, global_model(small()), client_class=Recording)
        assert len(seen) == 6
        assert len({tuple(indices) for indices in seen}) == 6
