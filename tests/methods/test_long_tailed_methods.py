"""Closed-form numbers and relations of the methods for long-tailed data."""

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from clients._class_gradients import class_gradients
from clients._class_prior import log_prior
from clients.balanced_softmax import BalancedSoftmax
from clients.base import Client
from clients.creff import CReFF as CReFFClient
from clients.fedrod import FedRoD
from clients.local.batches import Batch
from clients.local.worker import Worker
from clients.ratio_loss import RatioLoss, class_ratios
from common.errors import UserError
from common.records import Tensors, to_payload, to_tensors
from datasets.dataset import Split
from models.classifier import Classifier
from runtimes.sequential import SequentialGrid
from strategies._aggregation import WeightedAverage
from strategies._class_wise import class_wise_mean, scaled_rows
from strategies.creff import (
    CReFF,
    feature_gradients,
    gradient_distance,
    match_features,
    retrain_head,
)
from strategies.fedrod import FedRoD as FedRoDServer
from tests.clients.jobs import equal, global_model, small, train
from tests.conftest import Runner
from tests.methods.federation import LossWorker
from tests.methods.quadratics import Federation
from tests.strategies.messages import make_reply

ROUND = ConfigRecord({"server-round": 1})
LR = {"optimizer.learning-rate": 0.1}
LINEAR = {"model__name": "linear", "partition__alpha": 0.2}


class Plain(Classifier):
    """Two features, which are the inputs, and two classes, which are equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(2, 2, bias=False)
        nn.init.zeros_(self.classifier.weight)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x


def head_of(features: int, classes: int) -> nn.Linear:
    head = nn.Linear(features, classes)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.normal_(generator=generator)
        head.bias.normal_(generator=generator)
    return head


class TestBalancedSoftmax:
    def test_published_losses(self) -> None:
        shift = log_prior(torch.tensor([100, 10, 1]))
        losses = [F.cross_entropy(torch.ones(3) + shift, torch.tensor(y)).item() for y in range(3)]
        assert losses == pytest.approx([0.104360, 2.406945, 4.709530], abs=1e-6)

    def test_counts_and_frequencies_are_the_same(self) -> None:
        counts, z = torch.tensor([6, 3, 1]), torch.tensor([0.2, -1.0, 0.4])
        for tau in (0.0, 0.5, 2.0):
            first = F.cross_entropy(z + log_prior(counts, tau), torch.tensor(1))
            second = F.cross_entropy(z + log_prior(counts / 10, tau), torch.tensor(1))
            assert first.item() == pytest.approx(second.item(), abs=1e-6)

    def test_without_strength_it_is_fedavg(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)

        class Plain(BalancedSoftmax):
            tau = 0.0

        plain = train(Worker(config), 0, start, client_class=Plain)
        assert equal(plain.model, train(Worker(config), 0, start).model)

    def test_absent_classes_are_not_unlearnt(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)
        result = train(Worker(config), 0, start, client_class=BalancedSoftmax)
        absent = result.client.label_counts() == 0
        assert absent.any()
        change = (result.model["classifier.weight"] - start["classifier.weight"]).abs().sum(1)
        assert (change[absent] == 0).all()
        assert (change[~absent] > 0).all()

    def test_the_prior_of_all_clients_comes_from_the_server(self) -> None:
        worker = Worker(small(**LINEAR))  # type: ignore[arg-type]
        client = BalancedSoftmax(worker, 0, {}, {"prior": "global"})
        received = {"arrays": global_model(worker.config), "class-counts": {"counts": torch.arange(1, 11)}}
        client.train(received, ROUND)
        assert torch.equal(client.shift, log_prior(torch.arange(1, 11)))


class TestFedRoD:
    def client(self, **keys: Any) -> FedRoD:
        worker = Worker(small(**LINEAR, local__steps=1, **keys))
        client = FedRoD(worker, 0)
        client._receive({"arrays": global_model(worker.config)}, ROUND)
        client.begin_round()
        return client

    def test_no_loss_has_a_gradient_in_the_others_parameters(self) -> None:
        client = self.client()
        worker = client.worker
        inputs, targets = torch.randn(4, 1, 8, 8), client.label_counts().argmax().repeat(4)
        client.loss(client.params, Batch(inputs, targets, torch.arange(4))).backward()  # type: ignore[no-untyped-call]
        z, head = inputs.flatten(1), worker.model.classifier
        shifted = head(z).detach() + client.shift
        balanced = (shifted.softmax(1) - F.one_hot(targets, 10)).T @ z / 4
        torch.testing.assert_close(head.weight.grad, balanced)
        residual = (head(z).detach().softmax(1) - F.one_hot(targets, 10)).T @ z / 4
        torch.testing.assert_close(client.head["weight"].grad, residual)

    def test_the_global_model_is_that_of_balanced_softmax(self) -> None:
        config = small(partition__alpha=0.2, optimizer__momentum=0.5)  # a model with a body
        start = global_model(config)
        rod = train(Worker(config), 0, start, client_class=FedRoD)
        assert equal(rod.model, train(Worker(config), 0, start, client_class=BalancedSoftmax).model)
        assert set(rod.sections) == {"arrays"}
        assert rod.state["personal-head"]["weight"].abs().sum() > 0

    def test_a_client_that_has_never_trained_predicts_as_the_generic_model(self) -> None:
        worker = Worker(small(**LINEAR))  # type: ignore[arg-type]
        metrics = FedRoD(worker, 0).test({"arrays": global_model(worker.config)}, ROUND)
        assert metrics["personal_accuracy"] == pytest.approx(metrics["accuracy"], abs=1e-6)
        assert metrics["personal_loss"] == pytest.approx(metrics["loss"], rel=1e-5)

    def test_the_personal_head_goes_on_where_it_was(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)
        first = train(Worker(config), 0, start, client_class=FedRoD)
        kept = first.state["personal-head"]["weight"].clone()
        second = train(Worker(config), 0, start, 2, first.state, client_class=FedRoD)
        assert not torch.equal(second.state["personal-head"]["weight"], kept)
        assert torch.equal(first.state["personal-head"]["weight"], kept)


def test_class_wise_weights() -> None:
    rows = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [6.0]])]
    counts = [torch.tensor([20, 10]), torch.tensor([0, 10])]
    weights = torch.tensor([30.0, 10.0]) / 40
    scaled = sum(
        w * scaled_rows({"classifier.weight": r}, c)["classifier.weight"]
        for w, r, c in zip(weights, rows, counts, strict=True)
    )
    mean_counts = sum(w * c for w, c in zip(weights, counts, strict=True))
    fallback = {"classifier.weight": torch.full((2, 1), 9.0, dtype=torch.float64)}
    result = class_wise_mean({"classifier.weight": scaled}, mean_counts, fallback)["classifier.weight"]
    assert result.flatten().tolist() == pytest.approx([1.0, 0.75 * 2 + 0.25 * 6])  # weights 1, 0; 0.75, 0.25
    none = class_wise_mean({"classifier.weight": scaled * 0}, mean_counts * 0, fallback)
    assert none["classifier.weight"].flatten().tolist() == [9.0, 9.0]


def test_rows_of_classes_that_no_client_has_are_averaged_as_the_body_is() -> None:
    strategy = FedRoDServer(head_aggregation="class-wise")
    replies = [
        make_reply(
            {"fc.weight": [value], "classifier.weight": 2 * [[value]], "classifier.bias": 2 * [value]},
            size,
            {"class-counts": {"counts": [size, 0.0]}},
        )
        for size, value in ((30, 1.0), (10, 5.0))
    ]
    arrays, _ = strategy.aggregate_train(1, replies)
    assert arrays is not None
    model = to_tensors(arrays)
    of_present = (30 * 30 * 1.0 + 10 * 10 * 5.0) / (30 * 30 + 10 * 10)
    assert model["fc.weight"].tolist() == [2.0]
    assert model["classifier.weight"].flatten().tolist() == pytest.approx([of_present, 2.0])
    assert model["classifier.bias"].tolist() == pytest.approx([of_present, 2.0])


class TestRatioLoss:
    def test_class_gradients_are_those_of_autograd(self) -> None:
        head = head_of(5, 4)
        features = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
        targets = torch.arange(12) % 3  # class 3 has none
        gradients = class_gradients(features, targets, head)
        for label in range(3):
            loss = F.cross_entropy(head(features[targets == label]), targets[targets == label])
            (expected,) = torch.autograd.grad(loss, head.weight)
            torch.testing.assert_close(gradients[label], expected)
        assert (gradients[3] == 0).all()

    def test_ratios_of_two_classes(self) -> None:
        head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            head.weight.zero_()
        features = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
        # Row 0: own gradient -(1, 2) / 2, the other class's (4, 0) / 2, which has none of the second link.
        ratios = class_ratios(features, torch.tensor([0, 1]), head)
        assert ratios.tolist() == pytest.approx([0.25, (4 + 0) / 2])

    @pytest.mark.parametrize(
        ("parameters", "weights"),
        [
            ({}, (1.025, 1.2)),  # of the ratios 0.25 and 2
            ({"alpha": 0.5, "beta": 0.4}, (0.6, 1.3)),
            ({"alpha": 0.5, "beta": 0.4, "largest_ratio": 1.5}, (0.6, 1.1)),
            ({"alpha": 0.0, "beta": 1.0}, (0.25, 2.0)),
            ({"alpha": 0.0, "beta": 1.0, "largest_ratio": 0.0}, (0.25, 2.0)),
        ],
    )
    def test_the_loss_is_the_cross_entropy_times_alpha_and_beta_times_the_ratio(
        self, parameters: dict[str, float], weights: tuple[float, float]
    ) -> None:
        worker = LossWorker(small(), [2], Plain())
        inputs, labels = torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([0, 1])
        worker.dataset = SimpleNamespace(  # type: ignore[assignment]
            num_classes=2, train=Split(inputs, labels), validation=None
        )
        client = RatioLoss(worker, 0, {}, dict(parameters))
        client.begin_round()
        targets = torch.tensor([0, 1, 1])
        batch = Batch(torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 2.0]]), targets, torch.arange(3))
        expected = math.log(2) * (weights[0] + 2 * weights[1]) / 3
        assert client.loss(client.params, batch).item() == pytest.approx(expected, rel=1e-5)

    def test_a_class_that_is_fitted_well_weighs_less(self) -> None:
        head = head_of(3, 3)
        features = torch.rand(30, 3, generator=torch.Generator().manual_seed(2))
        targets = torch.arange(30) % 3
        before = class_ratios(features, targets, head)
        with torch.no_grad():
            head.bias[0] += 3.0
        assert class_ratios(features, targets, head)[0] < before[0]

    def test_without_beta_it_is_alpha_times_cross_entropy(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        start = global_model(config)

        class Plain(RatioLoss):
            beta = 0.0

        result = train(Worker(config), 0, start, client_class=Plain)
        for name, value in train(Worker(config), 0, start).model.items():
            torch.testing.assert_close(result.model[name], value)

    def test_all_clients_see_the_same_ratios_of_a_balanced_set(self) -> None:
        worker, model = Worker(small(**LINEAR)), global_model(small(**LINEAR))  # type: ignore[arg-type]
        weights = []
        for client_id in (0, 3):
            client = RatioLoss(worker, client_id)
            client._receive({"arrays": model}, ROUND)
            client.begin_round()
            weights.append(client.class_weights)
            assert client._auxiliary_set().targets.bincount().tolist() == [10] * 10
        assert torch.equal(*weights)
        assert (weights[0] > 1).all()

    def test_nodes_with_data_of_their_own_are_refused(self) -> None:
        with pytest.raises(UserError, match="an auxiliary set that all clients know"):
            RatioLoss(Worker(small(partition__name="node")), 0).validate()


class TestCReFF:
    HEAD = "classifier."

    def section(self, head: nn.Linear) -> Tensors:
        return {f"{self.HEAD}{name}": value.detach() for name, value in head.named_parameters()}

    def test_features_have_the_gradients_of_real_samples(self) -> None:
        head = head_of(4, 3)
        features = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1, 2])
        real = class_gradients(features.flatten(0, 1), labels.repeat_interleave(7), head)
        torch.testing.assert_close(feature_gradients(features, labels, self.section(head)), real)
        assert gradient_distance(real, 3 * real).item() == pytest.approx(0, abs=1e-5)
        assert gradient_distance(real, -real).item() == pytest.approx(2 * 9, abs=1e-4)

    def test_matching_brings_gradients_closer(self) -> None:
        head, labels = self.section(head_of(4, 3)), torch.tensor([0, 2])
        generator = torch.Generator().manual_seed(0)
        targets = feature_gradients(torch.randn(2, 9, 4, generator=generator) + 1, labels, head)
        start = torch.randn(2, 5, 4, generator=generator)
        before = start.clone()
        found = match_features(start, labels, targets, head, 100, 0.1)
        assert torch.equal(start, before)
        far = gradient_distance(feature_gradients(start, labels, head), targets)
        assert gradient_distance(feature_gradients(found, labels, head), targets) < 0.3 * far
        assert torch.equal(match_features(start, labels, targets, head, 0, 0.1), start)

    def test_a_step_of_retraining_is_a_gradient_step(self) -> None:
        head = head_of(4, 3)
        features = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
        new = retrain_head(self.section(head), features, torch.tensor([0, 2]), 1, 0.5)
        loss = F.cross_entropy(head(features.flatten(0, 1)), torch.tensor([0] * 5 + [2] * 5))
        gradients = torch.autograd.grad(loss, list(head.parameters()))
        for (name, value), gradient in zip(head.named_parameters(), gradients, strict=True):
            torch.testing.assert_close(new[f"{self.HEAD}{name}"], (value - 0.5 * gradient).detach())

    def test_gradients_are_taken_at_the_retrained_head_and_training_starts_from_the_averaged(self) -> None:
        config = small(**LINEAR)  # type: ignore[arg-type]
        model = global_model(config)
        averaged = {name: value * 0.5 for name, value in model.items()}
        client = CReFFClient(Worker(config), 0)
        sections, _ = client.train({"arrays": model, "averaged-head": averaged}, ROUND)
        plain = train(Worker(config), 0, averaged)
        assert equal({k: v.detach() for k, v in sections["arrays"].items()}, plain.model)
        held = client.label_counts() > 0
        assert sections["class-gradients"]["held"].tolist() == held.float().tolist()
        worker, head = client.worker, nn.Linear(64, 10)
        head.load_state_dict({name.removeprefix(self.HEAD): value for name, value in model.items()})
        indices = torch.from_numpy(client.indices)
        z = worker.normalizer(worker.train.inputs[indices]).flatten(1)
        expected = class_gradients(z, worker.train.targets[indices], head)
        torch.testing.assert_close(sections["class-gradients"]["weight"], expected)

    def test_features_are_matched_to_the_mean_over_the_clients_that_hold_a_class(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []

        def match(features: torch.Tensor, labels: torch.Tensor, *others: Any) -> torch.Tensor:
            seen.extend((labels, others[0]))
            return features

        monkeypatch.setattr("strategies.creff.match_features", match)
        strategy = CReFF(features_per_class=3, retraining_steps=0)
        strategy.global_model = {"classifier.weight": torch.ones(3, 2)}
        # Of four clients one holds class 0 and three hold class 2.
        gradients = torch.arange(18, dtype=torch.float64).view(3, 3, 2)
        held = torch.tensor([0.25, 0, 0.75], dtype=torch.float64)
        averages = {
            "arrays": {"classifier.weight": torch.ones(3, 2, dtype=torch.float64)},
            "class-gradients": {"weight": gradients * held[:, None, None], "held": held},
        }
        strategy.update(averages, 1)
        assert seen[0].tolist() == [0, 2]
        torch.testing.assert_close(seen[1], gradients[[0, 2]].float())

    def test_the_server_averages_gradients_over_the_clients_that_hold_a_class(self) -> None:
        strategy = CReFF(features_per_class=3, matching_steps=0, retraining_steps=0, weighting="examples")
        strategy.global_model = {"classifier.weight": torch.ones(3, 2)}
        averages = {
            "arrays": {"classifier.weight": torch.full((3, 2), 2.0, dtype=torch.float64)},
            "class-gradients": {
                "weight": torch.ones(3, 3, 2, dtype=torch.float64),
                "held": torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64),
            },
        }
        model = strategy.update(averages, 1)
        assert torch.equal(model["classifier.weight"], averages["arrays"]["classifier.weight"])
        assert strategy.seen.tolist() == [True, True, False]
        assert strategy.features.shape == (3, 3, 2)
        average = WeightedAverage()
        for size, value in ((1, 3.0), (9, 1.0)):
            metrics = MetricRecord({"num-examples": size})
            strategy.accumulate("class-gradients", average, {"weight": torch.tensor([value])}, metrics)
        assert average.mean()["weight"].tolist() == [2.0]
        assert torch.equal(
            strategy.broadcast(2)["averaged-head"]["classifier.weight"], torch.full((3, 2), 2.0)
        )


def test_fedprox_with_the_unsquared_norm() -> None:
    federation = Federation("fedprox", [(0.0, 0.0)], [1], start=[0.0], local=LR, mu=0.01, form="norm")
    client: Client = federation.clients[0]
    client.received = {"arrays": {"w": torch.zeros(2, dtype=torch.float64)}}
    client.params = {"w": torch.zeros(2, dtype=torch.float64)}
    zero = {"w": torch.zeros(2, dtype=torch.float64)}
    params = {"w": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    assert client.correct_gradients(params, zero)["w"].tolist() == pytest.approx(
        [0.004472, 0.008944], abs=1e-6
    )
    assert client.correct_gradients(zero, zero)["w"].tolist() == [0.0, 0.0]
    client.form = "squared"  # type: ignore[attr-defined]
    assert client.correct_gradients(params, zero)["w"].tolist() == pytest.approx([0.01, 0.02])


def test_fedrods_personal_head_follows_the_rate_of_each_step() -> None:
    """A warm-up begins at a rate of 0: in one step nothing moves, in two the head does."""
    moved = []
    for steps in (1, 2):
        config = small(local__steps=steps, schedule__warmup_steps=9)
        client = FedRoD(Worker(config), 0)
        client.train({"arrays": global_model(config)}, ConfigRecord({"server-round": 1}))
        moved.append(bool(client.state["personal-head"]["weight"].any()))
    assert moved == [False, True]


@pytest.mark.parametrize(("form", "value"), [("norm", 0.0223607), ("squared", 0.025)])
def test_the_proximal_term_is_the_integral_of_its_gradient(form: str, value: float) -> None:
    federation = Federation("fedprox", [(0.0, 0.0)], [1], start=[0.0], local=LR, mu=0.01, form=form)
    client: Client = federation.clients[0]
    zero, end = torch.zeros(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    client.received, client.params = {"arrays": {"w": zero}}, {"w": zero}
    # From w_g to w along a line; the midpoint rule is exact for both forms.
    gradients = [
        client.correct_gradients({"w": t * end}, {"w": zero})["w"] for t in (0.125, 0.375, 0.625, 0.875)
    ]
    assert sum(float(gradient @ end) / 4 for gradient in gradients) == pytest.approx(value, abs=1e-6)


def test_fedrod_with_a_class_wise_head(run_small: Runner) -> None:
    """A run in which rows of the head weigh clients by their class counts, against the replies themselves."""
    replies: list[Any] = []

    class Watching(SequentialGrid):
        def exchange(self, messages: list[Message]) -> Iterator[Message]:
            for reply in super().exchange(messages):
                if "class-counts" in reply.content.array_records:
                    replies.append(to_payload(reply.content))
                yield reply

    options = {"method__name": "fedrod", "model__name": "linear", "rounds": 2, "checkpoint__every": 1}
    run = run_small("run", Watching, method__head_aggregation="class-wise", **options)
    final = load_file(run / "model.safetensors")
    counts = torch.stack([reply["class-counts"]["counts"] for reply in replies[-3:]])
    weights = counts * counts.sum(1, keepdim=True)
    weights = weights / weights.sum(0)
    rows = torch.stack([reply["arrays"]["classifier.weight"].double() for reply in replies[-3:]])
    expected = (weights[:, :, None] * rows).sum(0).float()
    held = counts.sum(0) > 0
    torch.testing.assert_close(final["classifier.weight"][held], expected[held])
    with pytest.raises(UserError, match="privacy"):
        run_small("private", method__head_aggregation="class-wise", privacy__clipping="fixed", **options)
