from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from datasets import load_dataset
from datasets.configured import open_dataset
from datasets.images.loading import IMAGENET_MEAN, IMAGENET_STD
from datasets.long_tail import LongTail, long_tail_counts
from tests.clients.jobs import small


@pytest.mark.parametrize(
    ("classes", "largest", "factor", "counts"),
    [
        (4, 100, 0.1, [100, 46, 21, 10]),
        (5, 200, 0.05, [200, 94, 44, 21, 10]),
        (10, 5000, 0.01, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]),
        (10, 5000, 0.02, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
        (10, 5000, 0.1, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        (1, 7, 0.5, [7]),
    ],
)
def test_exponential_counts(classes: int, largest: int, factor: float, counts: list[int]) -> None:
    assert long_tail_counts(largest, classes, factor) == counts


@pytest.mark.parametrize(
    ("factor", "total", "first", "last"),
    [
        (0.01, 10_847, [500, 477, 455, 434, 415, 396, 378, 361, 344, 328], [7, 7, 6, 6, 6, 6, 5, 5, 5, 5]),
        (0.02, 12_608, [500, 480, 462, 444, 426, 410, 394, 379, 364, 350], [11, 11, 10, 10, 10]),
        (0.1, 19_573, [500, 488, 477], [52, 51, 50]),
    ],
)
def test_exponential_counts_of_cifar100(factor: float, total: int, first: list[int], last: list[int]) -> None:
    counts = long_tail_counts(500, 100, factor)
    assert sum(counts) == total
    assert counts[: len(first)] == first
    assert counts[-len(last) :] == last


def test_step_counts() -> None:
    assert long_tail_counts(100, 5, 0.05, "step") == [100, 100, 5, 5, 5]


@given(st.integers(2, 8), st.floats(0.02, 1), st.sampled_from(["exponential", "step"]), st.integers(0, 9))
def test_the_set_is_sorted_by_class_and_has_the_counts(
    classes: int, factor: float, profile: str, seed: int
) -> None:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(classes), 60))
    chosen = LongTail(factor, profile, seed).indices(targets, classes, seed=0)  # type: ignore[arg-type]
    assert len(np.unique(chosen)) == len(chosen)
    assert (np.diff(targets[chosen]) >= 0).all()
    counts = long_tail_counts(60, classes, factor, profile)  # type: ignore[arg-type]
    assert np.bincount(targets[chosen], minlength=classes).tolist() == counts


def test_factor_one_is_the_whole_set() -> None:
    targets = np.arange(30) % 3
    assert sorted(LongTail(1.0).indices(targets, 3, seed=0)) == list(range(30))


def test_the_choice_is_that_of_the_global_legacy_generator() -> None:
    targets = np.random.default_rng(1).integers(0, 3, 90)
    np.random.seed(0)  # noqa: NPY002 - what the published sets were made with
    expected: list[int] = []
    for label, count in enumerate([30, 13, 6]):
        pool = np.where(targets == label)[0]
        np.random.shuffle(pool)  # noqa: NPY002
        expected += pool[:count].tolist()
    assert LongTail(0.2).indices(targets, 3, seed=5).tolist() == expected


def test_the_choice_can_follow_the_runs_seed() -> None:
    targets = np.arange(90) % 3
    first, again, other = (LongTail(0.2, legacy_seed=-1).indices(targets, 3, seed) for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_digits_become_long_tailed_and_the_test_set_does_not() -> None:
    balanced = open_dataset(small())
    dataset = open_dataset(small(dataset__imbalance_factor=0.1))
    counts = torch.bincount(dataset.train.targets).tolist()
    available = torch.bincount(balanced.train.targets).tolist()
    assert counts == list(map(min, long_tail_counts(143.7, 10, 0.1), available))
    assert torch.equal(dataset.test.targets, balanced.test.targets)
    assert (dataset.mean, dataset.std) == (balanced.mean, balanced.std)
    held_out = open_dataset(small(dataset__imbalance_factor=0.1, dataset__validation_fraction=0.2))
    assert held_out.validation is not None
    together = torch.bincount(held_out.train.targets) + torch.bincount(held_out.validation.targets)
    assert together.tolist() == counts


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"dataset__imbalance_factor": 0.001}, "leaves class 7 without training samples: raise it"),
        ({"dataset__imbalance_factor": 0.0}, "dataset.imbalance-factor must be greater than 0"),
        ({"dataset__imbalance_factor": 2.0}, "dataset.imbalance-factor must be less than or equal to 1"),
        ({"dataset__imbalance_profile": "trunk"}, "dataset.imbalance-profile must be 'exponential' or"),
        ({"dataset__imbalance_factor": 0.1, "partition__name": "node"}, "with partition 'node'"),
        ({"dataset__normalization": "imagenet"}, "needs colour images"),
    ],
)
def test_impossible_long_tails(keys: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        open_dataset(small(**keys))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_statistics_of_imagenet() -> None:
    assert IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert IMAGENET_STD == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(("name", "total"), [("cifar10", 12_406), ("cifar100", 10_847)])
def test_published_sets(canonical_root: Path, name: str, total: int) -> None:
    dataset = load_dataset(name, root=canonical_root, long_tail=LongTail(0.01), normalization="imagenet")
    assert len(dataset.train) == total
    assert len(dataset.test) == 10_000
    assert (dataset.mean, dataset.std) == (IMAGENET_MEAN, IMAGENET_STD)
