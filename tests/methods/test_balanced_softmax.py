"""Balanced Softmax: published numbers and relations."""

import pytest
import torch
from flwr.app import ConfigRecord
from torch.nn import functional as F

from clients._class_prior import log_prior
from clients.balanced_softmax import BalancedSoftmax
from clients.local.worker import Worker
from tests.clients.jobs import global_model, small
from tests.methods.shifted_logits import (
    LINEAR,
    check_that_absent_classes_are_not_unlearnt,
    check_that_without_strength_it_is_fedavg,
)

ROUND = ConfigRecord({"server-round": 1})


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
        check_that_without_strength_it_is_fedavg(BalancedSoftmax)

    def test_absent_classes_are_not_unlearnt(self) -> None:
        check_that_absent_classes_are_not_unlearnt(BalancedSoftmax)

    def test_the_prior_of_all_clients_comes_from_the_server(self) -> None:
        worker = Worker(small(**LINEAR))
        client = BalancedSoftmax(worker, 0, {}, {"prior": "global"})
        received = {"arrays": global_model(worker.config), "class-counts": {"counts": torch.arange(1, 11)}}
        client.train(received, ROUND)
        assert torch.equal(client.shift, log_prior(torch.arange(1, 11)))
