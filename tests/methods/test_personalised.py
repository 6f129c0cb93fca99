"""Closed-form numbers and relations of the personalised methods, in float64."""

import pytest
import torch
from flwr.app import ConfigRecord
from torch import nn

from clients.base import Client
from clients.ditto import Ditto
from clients.fedalt import FedAlt
from clients.fedrep import FedRep
from clients.knn_per import KnnPer, mixed_log_probabilities
from clients.local.batches import Batch
from clients.local.worker import Worker
from common.errors import UserError
from common.records import Tensors
from models.heads.parts import part_names
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.federation import Loss, LossFederation
from tests.methods.quadratics import Federation

LR = {"optimizer.learning-rate": 0.1}


def close(*values: float) -> object:
    return pytest.approx(list(values), abs=1e-9)


class Product(nn.Module):
    """a * b * x: the head a on the body b."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ParameterDict({"b": nn.Parameter(torch.tensor(1.0, dtype=torch.float64))})
        self.classifier = nn.ParameterDict({"a": nn.Parameter(torch.tensor(0.5, dtype=torch.float64))})


def target(y: float) -> Loss:
    def loss(client: Client, params: Tensors, batch: Batch) -> torch.Tensor:
        return (params["classifier.a"] * params["body.b"] - y) ** 2 / 2

    return loss


def product_federation(method: str, steps: int, **parameters: float) -> LossFederation:
    return LossFederation(method, [target(2.0), target(-1.0)], [steps] * 2, Product, local=LR, **parameters)


def heads(federation: LossFederation) -> list[float]:
    return [client.state["kept-entries"]["classifier.a"].item() for client in federation.clients]


def bodies(federation: LossFederation) -> list[float]:
    return [federation.replies[client_id]["body.b"].item() for client_id in (0, 1)]


@pytest.mark.parametrize("method", ["fedrep", "fedalt"])
def test_head_then_body(method: str) -> None:
    federation = product_federation(method, 3, personal_share=2 / 3)
    model = federation.run_round()
    assert heads(federation) == close(0.785, 0.215)
    assert bodies(federation) == close(1.0953775, 0.9738775)
    assert list(model) == ["body.b"]
    assert model["body.b"].item() == pytest.approx(1.0346275, abs=1e-9)
    federation.run_round()
    assert heads(federation) != close(0.785, 0.215)  # it goes on from its own head


@pytest.mark.parametrize("method", ["fedper", "fedsim"])
def test_head_and_body_together(method: str) -> None:
    federation = product_federation(method, 1)
    model = federation.run_round()
    assert heads(federation) == close(0.65, 0.35)
    assert bodies(federation) == close(1.075, 0.925)
    assert model["body.b"].item() == pytest.approx(1.0, abs=1e-12)


def test_the_head_of_the_server_never_reaches_a_client_that_has_one() -> None:
    federation = product_federation("fedper", 1)
    assert list(federation.model) == ["body.b"]
    for _ in range(2):
        federation.run_round()
        assert list(federation.replies[0]) == ["body.b"]


def test_fedrep_without_head_steps_is_fedavg_on_the_body() -> None:
    federation = product_federation("fedrep", 2, personal_share=0.0)
    babu = product_federation("fedbabu", 2)
    for _ in range(3):
        assert federation.run_round()["body.b"].item() == pytest.approx(
            babu.run_round()["body.b"].item(), abs=1e-15
        )
    assert heads(federation) == [0.5, 0.5]
    assert babu.model["classifier.a"].item() == 0.5


def test_momentum_and_decay_do_not_move_what_is_frozen() -> None:
    local = {**LR, "optimizer.momentum": 0.9, "optimizer.weight-decay": 0.5}
    federation = LossFederation("fedbabu", [target(2.0)], [4], Product, local=local)
    federation.run_round()
    assert federation.model["classifier.a"].item() == 0.5
    assert all(value.requires_grad for value in federation.clients[0].worker.parameters.values())


@pytest.mark.parametrize(
    ("share", "steps", "expected"), [(0.1, 4, 1), (0.9, 4, 3), (0.5, 5, 2), (1.0, 4, 4), (0.5, 1, 0)]
)
def test_both_parts_get_a_step(share: float, steps: int, expected: int) -> None:
    federation = product_federation("fedrep", steps, personal_share=share)
    federation.run_round()
    assert federation.clients[0].personal_steps == expected  # type: ignore[attr-defined]


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

    def test_a_step_that_overshoots_is_refused(self) -> None:
        federation = Federation("ditto", [(1, 4)], [1], local={"optimizer.learning-rate": 0.5}, lam=2.0)
        with pytest.raises(UserError, match=r"optimizer\.learning-rate \* method\.lam"):
            federation.clients[0].validate()


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


class TestFedBN:
    def test_layers_are_found_by_their_type(self) -> None:
        model = nn.Module()
        model.conv = nn.Conv2d(1, 1, 1, bias=False)
        model.downsample = nn.Sequential(nn.Identity(), nn.BatchNorm2d(1))
        assert set(model.state_dict()) - part_names(model, "batch-norm") == {"conv.weight"}

    def test_a_model_without_them_is_refused(self) -> None:
        with pytest.raises(UserError, match="no BatchNorm layers"):
            part_names(nn.Linear(1, 1), "batch-norm")


FEDREPS = {"fedrep": FedRep, "fedalt": FedAlt}


class TestFedRepWithFewSteps:
    @pytest.mark.parametrize("method", ["fedrep", "fedalt"])
    def test_one_step_for_two_parts_is_refused(self, method: str) -> None:
        config = small(method__name=method, local__steps=1, local__epochs=0)
        client = FEDREPS[method](Worker(config), 0, {}, {"personal_share": 0.5})
        with pytest.raises(UserError, match=r"set local\.steps = 2 or more"):
            client.validate()
        for share in (0.0, 1.0):
            FEDREPS[method](Worker(config), 0, {}, {"personal_share": share}).validate()

    def test_a_client_that_makes_but_one_step_trains_both_parts(self) -> None:
        config = small(local__batch_size=10_000, local__epochs=1, local__steps=0)
        worker, start = Worker(config), global_model(config)
        state: dict[str, Tensors] = {}
        client = FedRep(worker, 0, state, {"personal_share": 0.5})
        sections, metrics = client.train({"arrays": start}, ConfigRecord({"server-round": 1}))
        assert metrics["num-steps"] == 1
        changed = {name for name, value in worker.state.items() if not torch.equal(value, start[name])}
        assert changed == set(client.params)
        assert not set(sections["arrays"]) & set(client.personal_names())
