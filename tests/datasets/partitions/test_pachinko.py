"""Two-level CIFAR-100."""

import time
from collections.abc import Sequence

import numpy as np
import pytest

from common.errors import UserError
from datasets.partition_report import label_counts
from datasets.partitions import make_partition
from datasets.partitions.pachinko import COARSE_OF_FINE
from tests.datasets.partitions.deals import (
    CIFAR100_TRAINING_TARGETS,
    assert_well_formed,
    check_refused,
    partition,
    sizes,
)


class TestPachinko:
    def coarse_counts(self, parts: Sequence[np.ndarray], targets: np.ndarray) -> np.ndarray:
        return label_counts(COARSE_OF_FINE[targets], parts, 20)

    def test_published_setting(self) -> None:
        targets = np.repeat(np.arange(100), 500)
        started = time.perf_counter()
        parts = partition("pachinko", targets, 500)
        assert time.perf_counter() - started < 5
        assert_well_formed(parts, 50000, 500)
        assert sizes(parts) == [100] * 500
        held = (self.coarse_counts(parts[:250], targets) >= 5).sum(axis=1)
        # Dir(0.1) over 20: mass on two or three; fine labels within them are spread.
        assert 1.5 < held.mean() < 5
        fine = label_counts(targets, parts[:50], 100)
        largest = self.coarse_counts(parts[:50], targets).argmax(axis=1)
        spread = [(fine[client, largest[client] == COARSE_OF_FINE] > 0).sum() for client in range(50)]
        assert np.mean(spread) > 4

    def test_limits(self) -> None:
        def first_client(**parameters: float) -> tuple[int, int]:
            parts = partition("pachinko", CIFAR100_TRAINING_TARGETS, 450, **parameters)[:1]
            fine = label_counts(CIFAR100_TRAINING_TARGETS, parts, 100)
            coarse = self.coarse_counts(parts, CIFAR100_TRAINING_TARGETS)
            return int((coarse > 0).sum()), int((fine > 0).sum())

        assert first_client(coarse_alpha=1e-8, fine_alpha=1e-8) == (1, 1)
        assert first_client(coarse_alpha=1e-8, fine_alpha=1e6) == (1, 5)
        coarse, fine = first_client(coarse_alpha=1e6, fine_alpha=1e-8)
        assert coarse == fine > 15

    def test_exhausted_classes_drop_out(self) -> None:
        parts = partition("pachinko", CIFAR100_TRAINING_TARGETS, 3)
        assert sizes(parts) == [15000] * 3
        made = make_partition("pachinko", np.arange(104) % 100, 10, np.random.default_rng(0), {})
        assert made.sizes.tolist() == [10] * 10

    def test_only_for_100_labels(self) -> None:
        with pytest.raises(UserError, match="needs the 100 labels of CIFAR-100"):
            partition("pachinko", np.arange(50) % 10, 5)


@pytest.mark.parametrize(
    ("num_clients", "parameters", "complaint"),
    [
        (2, {"fine-alpha": -1.0}, "partition.fine-alpha must be greater than 0"),
    ],
)
def test_wrong_configuration_is_one_clear_line(
    num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused("pachinko", num_clients, parameters, complaint)
