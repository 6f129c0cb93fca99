"""Deals of samples to clients, and what holds for each."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from common.errors import UserError
from datasets.partitions import make_partition

CIFAR100_TRAINING_TARGETS = np.repeat(np.arange(100), 450)


def partition(name: str, targets: np.ndarray, num_clients: int, seed: int = 0, **parameters: object) -> list:
    spelled = {key.replace("_", "-"): value for key, value in parameters.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make_partition(name, targets, num_clients, np.random.default_rng(seed), spelled)


def assert_well_formed(parts: Sequence[np.ndarray], num_samples: int, num_clients: int) -> None:
    assert len(parts) == num_clients
    for indices in parts:
        assert indices.dtype == np.int64
        assert (np.diff(indices) > 0).all()
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < num_samples


def sizes(parts: Sequence[np.ndarray]) -> list[int]:
    return [len(indices) for indices in parts]


targets_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=120).map(
    lambda labels: np.array(labels, dtype=np.int64)
)


seeds = st.integers(0, 2**32 - 1)


class CountingGenerator(np.random.RandomState):
    """Counts its Dirichlet draws."""

    draws = 0

    def dirichlet(self, *arguments: object, **keywords: object) -> np.ndarray:  # type: ignore[override]
        self.draws += 1
        return super().dirichlet(*arguments, **keywords)  # type: ignore[call-overload,no-any-return]


def check_refused(name: str, num_clients: int, parameters: dict[str, object], complaint: str) -> None:
    """Check that a deal of ten samples of each of two classes ends in one line that says why."""
    with pytest.raises(UserError, match=complaint) as caught:
        make_partition(name, np.repeat([0, 1], 10), num_clients, np.random.default_rng(0), parameters)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


SIXTY = np.repeat(np.arange(10), 60)


def deal(
    name: str, targets: np.ndarray, num_clients: int, seed: int = 0, **parameters: Any
) -> list[np.ndarray]:
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_partition(name, targets, num_clients, np.random.default_rng(seed), given)


def check_seeded_numbers(name: str) -> None:
    """Compare with the numbers of the authors' code, O-18."""
    first = deal(name, SIXTY, 6, legacy_seed=0)
    assert sizes(first) == [116, 104, 104, 73, 110, 93]
    assert {314, 232, 374, 377, 362} <= set(first[0].tolist())
    assert {94, 305, 590, 511, 332} <= set(first[1].tolist())
    assert np.bincount(SIXTY[first[0]], minlength=10).tolist() == [2, 20, 2, 1, 17, 11, 32, 0, 6, 25]
    assert sizes(deal(name, SIXTY, 6, legacy_seed=1)) == [141, 84, 99, 97, 72, 107]


def class_counts(parts: list[np.ndarray], classes: np.ndarray) -> list[dict[int, int]]:
    return [
        {int(c): int(n) for c, n in zip(*np.unique(classes[part], return_counts=True), strict=True)}
        for part in parts
    ]
