"""Local tests and groups of classes as the configuration asks for them, by an independent calculation."""

import functools

import numpy as np
import pytest
import torch

from common.config import Config
from datasets.client_data.client_tests import client_class_groups, global_class_groups, local_tests
from datasets.dataset import Dataset, Split
from tests.clients.jobs import small
from tests.datasets.fedloge_settings import SETTINGS

NUM_TEST = 10_000


def dealt(targets: np.ndarray, clients: int, alpha: float, stream: np.random.RandomState) -> np.ndarray:
    """The clients' counts (clients, classes) with owners from a legacy stream."""
    classes = int(targets.max()) + 1
    stream.binomial(1, 1, (clients, classes))
    columns = []
    for label in range(classes):
        shares = stream.dirichlet([alpha] * clients)
        owners = stream.choice(np.arange(clients), size=int((targets == label).sum()), p=shares)
        columns.append([int((owners == client).sum()) for client in range(clients)])
    return np.array(columns).T


def groups_of(counts: np.ndarray) -> list[int]:
    """Head 0, middle 1, tail 2, walked through one class after the other."""
    groups, seen = [2] * len(counts), 0.0
    for label in sorted(range(len(counts)), key=lambda label: (-counts[label], label)):
        if counts[label]:
            groups[label] = 0 if seen < 75 else 1 if seen < 95 else 2
        seen += 100 * counts[label] / counts.sum()
    return groups


def images(train: np.ndarray, test: np.ndarray) -> Dataset:
    """A data set of images of one pixel, with these labels."""
    splits = [
        Split(torch.zeros(len(targets), 1, 1, 1, dtype=torch.uint8), torch.from_numpy(targets))
        for targets in (train, test)
    ]
    names = tuple(map(str, range(int(train.max()) + 1)))
    return Dataset("pixels", splits[0], None, splits[1], len(names), names, (0.0,), (1.0,))


@pytest.mark.parametrize(("alpha", "seed"), [(0.5, 3407), (1.0, 3407), (0.5, 11), (1.0, 11)])
def test_local_tests_are_drawn_after_the_partition_that_is_configured(alpha: float, seed: int) -> None:
    train, test = np.repeat(np.arange(4), [100, 46, 21, 10]), np.arange(160) % 4
    keys = {"alpha": alpha, "legacy_seed": seed}
    given = {f"partition__{key}": value for key, value in keys.items() if value not in (0.5, 3407)}
    config = small(partition__name="fed-lt", clients__count=3, **given)
    stream = np.random.RandomState(seed)
    counts = dealt(train, 3, alpha, stream)
    found = local_tests(config, images(train, test))
    for client, row in enumerate(counts):
        expected = []
        for label, count in enumerate(row):
            share = int(count / counts.sum() * len(test))
            assert found.nominal[client, label] == share
            pool = np.where(test == label)[0]
            expected += stream.choice(pool, min(share, len(pool)), replace=False).tolist()
        assert found.indices[client].tolist() == sorted(expected)


@functools.cache
def published(name: str) -> tuple[Config, Dataset, np.ndarray]:
    """A main setting with images of one pixel: configuration, data, and counts (clients, classes)."""
    setting, clients = SETTINGS[name], len(SETTINGS[name].client_sizes)
    largest = 50_000 // setting.classes
    sizes = [
        int(largest * setting.factor ** (label / (setting.classes - 1))) for label in range(setting.classes)
    ]
    train, test = np.repeat(np.arange(setting.classes), sizes), np.arange(NUM_TEST) % setting.classes
    config = small(
        evaluate__groups="cumulative",
        clients__count=clients,
        partition__name="fed-lt",
        partition__alpha=setting.alpha,
    )
    counts = dealt(train, clients, setting.alpha, np.random.RandomState(3407))
    assert tuple(counts.sum(axis=1)) == setting.client_sizes
    return config, images(train, test), counts


@pytest.mark.parametrize("name", ["b", "f"])
def test_groups_of_the_global_model_come_from_all_local_tests_together(name: str) -> None:
    config, dataset, counts = published(name)
    tested = np.trunc(counts / counts.sum() * NUM_TEST).astype(int)
    groups = global_class_groups(config, dataset)
    assert groups is not None
    assert groups.tolist() == groups_of(tested.sum(axis=0))


def test_groups_of_the_global_model_need_not_follow_the_training_counts() -> None:
    config, dataset, counts = published("f")
    groups = global_class_groups(config, dataset)
    assert groups is not None
    assert (groups[53], groups[52]) == (1, 2)
    trained = counts.sum(axis=0)
    assert trained[52] >= trained[53]
    assert groups.tolist() != groups_of(trained)


@pytest.mark.parametrize("name", ["b", "f"])
def test_groups_of_a_client_come_from_its_own_local_test(name: str) -> None:
    config, dataset, counts = published(name)
    tested = np.trunc(counts / counts.sum() * NUM_TEST).astype(int)
    found = [client_class_groups(config, dataset, client) for client in range(len(counts))]
    expected = [groups_of(row) for row in tested]
    assert [groups.tolist() for groups in found if groups is not None] == expected
    assert expected != [groups_of(row) for row in counts]
    if name == "b":
        assert expected[0] == [0, 0, 1, 2, 0, 2, 2, 2, 2, 2]
        assert groups_of(counts[0])[5] == 1  # by what it trains on
