"""What holds for every partition scheme."""

import numpy as np
import pytest

from common.plugin_kinds import PARTITION
from common.plugins import names
from datasets.partition_report import label_counts
from datasets.partitions import partition_parameters
from tests.datasets.partitions.deals import (
    CIFAR100_TRAINING_TARGETS,
    assert_well_formed,
    check_refused,
    partition,
    sizes,
)


def test_schemes_are_found_by_file_name() -> None:
    assert names(PARTITION) == [
        "classes", "dirichlet", "feature", "fed-lt", "group", "hetero", "hetero-fixed", "homo", "iid",
        "natural", "pachinko", "quantity", "sorted-labels",
    ]  # fmt: skip
    assert list(partition_parameters("classes")) == ["classes_per_client", "variant"]
    assert list(partition_parameters("iid")) == ["stratified"]


def test_other_seed_other_partition() -> None:
    for name in set(names(PARTITION)) - {"natural", "hetero-fixed", "fed-lt"}:
        first = partition(name, CIFAR100_TRAINING_TARGETS, 10, seed=0)
        second = partition(name, CIFAR100_TRAINING_TARGETS, 10, seed=1)
        assert not all(map(np.array_equal, first, second))


@pytest.mark.parametrize("name", [name for name in names(PARTITION) if name != "natural"])
def test_relations_that_hold_for_every_scheme(name: str) -> None:
    targets = CIFAR100_TRAINING_TARGETS[::5]
    first, again, other = (partition(name, targets, 10, seed) for seed in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert all(map(np.array_equal, first, other)) == (name in ("fed-lt", "hetero-fixed"))
    assert_well_formed(first, len(targets), 10)
    counts = label_counts(targets, first, 100)
    assert counts.sum(axis=1).tolist() == sizes(first)
    held = np.bincount(targets[np.concatenate(first)], minlength=100)
    assert (counts.sum(axis=0) == held).all()
    assert (held <= np.bincount(targets, minlength=100)).all()


@pytest.mark.parametrize(
    ("name", "num_clients", "parameters", "complaint"),
    [
        ("dirichlett", 2, {}, r"partition\.name: there is no 'dirichlett'; did you mean 'dirichlet'\?"),
        ("_dealing", 2, {}, "there is no '_dealing'"),
    ],
)
def test_an_unknown_scheme_is_one_clear_line(
    name: str, num_clients: int, parameters: dict[str, object], complaint: str
) -> None:
    check_refused(name, num_clients, parameters, complaint)
