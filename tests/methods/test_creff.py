"""CReFF: federated features and the retrained head."""

from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, MetricRecord
from torch import nn
from torch.nn import functional as F

from clients._class_gradients import class_gradients
from clients.creff import CReFF as CReFFClient
from clients.local.worker import Worker
from common.records import Tensors
from strategies._aggregation import WeightedAverage
from strategies.creff import (
    CReFF,
    feature_gradients,
    gradient_distance,
    match_features,
    retrain_head,
)
from tests.clients.jobs import equal, global_model, small, train
from tests.methods.heads import head_of
from tests.strategies.messages import make_reply

ROUND = ConfigRecord({"server-round": 1})
LINEAR = {"model__name": "linear", "partition__alpha": 0.2}


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

    @pytest.mark.parametrize(("batch_size", "sizes"), [(10, [10, 10]), (4, [4, 4, 2] * 2)])
    def test_retraining_is_sgd_in_epochs(self, batch_size: int, sizes: list[int]) -> None:
        head = head_of(4, 3)
        start = self.section(head)
        features = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 2])
        generator = torch.Generator().manual_seed(3)
        new = retrain_head(start, features, labels, 2, batch_size, 0.5, generator)
        inputs, targets = features.flatten(0, 1), torch.tensor([0] * 5 + [2] * 5)
        assert all(torch.equal(value, start[name]) for name, value in self.section(head).items())
        generator.manual_seed(3)
        orders = [torch.randperm(10, generator=generator).split(batch_size) for _ in range(2)]
        optimizer = torch.optim.SGD(head.parameters(), 0.5)
        for batch in (batch for order in orders for batch in order):
            optimizer.zero_grad()
            F.cross_entropy(head(inputs[batch]), targets[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert [len(batch) for order in orders for batch in order] == sizes
        torch.testing.assert_close(new, self.section(head))

    def test_retraining_works_without_a_bias(self) -> None:
        start = {f"{self.HEAD}weight": torch.zeros(2, 1)}
        features = torch.tensor([[[1.0]], [[3.0]]])
        new = retrain_head(start, features, torch.tensor([0, 1]), 1, 2, 0.5, torch.Generator())
        # Probabilities are 1/2: the mean of (1/2 - 1) 1 and 1/2 3 is 1/2, and the other row has its negative.
        assert new[f"{self.HEAD}weight"].flatten().tolist() == [-0.25, 0.25]
        assert start[f"{self.HEAD}weight"].tolist() == [[0], [0]]

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

    def test_changes_are_counted_from_the_averaged_head(self) -> None:
        """For what observers and participation schemes measure, and for attackers."""
        keys = {**LINEAR, "attack__name": "sign-flip", "attack__fraction": 1.0}
        model = global_model(small(**LINEAR))  # type: ignore[arg-type]
        averaged = {name: value * 0.5 for name, value in model.items()}
        honest, attacked = (
            CReFFClient(Worker(small(**options)), 0).train(  # type: ignore[arg-type]
                {"arrays": model, "averaged-head": averaged}, ROUND
            )[0]["arrays"]
            for options in (LINEAR, keys)
        )
        for name, start in averaged.items():
            torch.testing.assert_close(attacked[name].detach(), 2 * start - honest[name].detach())
        strategy = CReFF()
        assert strategy.trained_from(make_reply({}, 1), model) == model  # in the first round
        strategy.head = averaged
        assert strategy.trained_from(make_reply({}, 1), model) == averaged

    def test_features_are_matched_to_the_mean_over_the_clients_that_hold_a_class(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[torch.Tensor] = []

        def match(features: torch.Tensor, labels: torch.Tensor, *others: Any) -> torch.Tensor:
            seen.extend((labels, others[0]))
            return features

        monkeypatch.setattr("strategies.creff.match_features", match)
        strategy = CReFF(features_per_class=3, retraining_epochs=0)
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
        strategy = CReFF(features_per_class=3, matching_steps=0, retraining_epochs=0, weighting="examples")
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
