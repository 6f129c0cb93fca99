"""Feature heterogeneity and feature noise: numbers of the specification, and relations."""

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.config import Config, merge
from common.errors import UserError
from common.sections import Value
from datasets import configured
from datasets.configured import open_clean_dataset, open_dataset
from datasets.dataset import Dataset, Split
from datasets.noise.feature_noise import (
    Donors,
    Overflow,
    add_feature_noise,
    draw_donors,
    noise_images,
    subtract,
)
from datasets.noise.feature_noise_of_clients import donors_of, noise_examples
from datasets.partition_scheme import PartitionScheme, partition_clients
from datasets.partitions import make_partition
from datasets.partitions.feature import feature_partition

CLASSES = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5])
ORDER = np.array([11, 4, 7, 0, 13, 2, 9, 6, 15, 8, 1, 10, 3, 12, 5, 14])
RHOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)


def pixels(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("heterogeneity", "num_clients", "expected"),
    [
        (0.5, 2, [[15, 8, 1, 10, 0, 2, 11, 13], [3, 12, 5, 14, 4, 6, 7, 9]]),
        (0.25, 2, [[13, 2, 9, 6, 15, 8, 0, 11], [1, 10, 3, 12, 5, 14, 4, 7]]),
        (0.0, 3, [[11, 4, 7, 0, 13], [2, 9, 6, 15, 8], [1, 10, 3, 12, 5]]),
    ],
)
def test_feature_partition(heterogeneity: float, num_clients: int, expected: list[list[int]]) -> None:
    parts = feature_partition(ORDER, CLASSES % 2, CLASSES, num_clients, heterogeneity)
    assert [part.tolist() for part in parts] == expected


def counts(parts: list[np.ndarray], classes: np.ndarray) -> list[dict[int, int]]:
    return [
        {int(c): int(n) for c, n in zip(*np.unique(classes[part], return_counts=True), strict=True)}
        for part in parts
    ]


def test_feature_partition_of_ten_equal_classes() -> None:
    classes = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "feature", classes % 2, 8, np.random.default_rng(0))
    sorted_all = counts(deal({"heterogeneity": 1.0}, classes=classes), classes)
    pairs = [(3125, 0), (1875, 1250), (3125, 1), (625, 2500), (2500, 625), (3125, 3), (1250, 1875), (3125, 4)]
    assert [sum(client.values()) for client in sorted_all] == [6250] * 8
    assert [client[min(client)] for client in sorted_all] == [first for first, _ in pairs]
    assert max(map(len, sorted_all)) == 4  # at most two classes per label
    for client in sorted_all:
        assert all(client[c] == client[c + 1] for c in client if c % 2 == 0)
    for heterogeneity, shared in ((0.25, 4687), (0.5, 3125)):
        parts = deal({"heterogeneity": heterogeneity}, classes=classes)
        num_sorted = sum(len(pool) // 8 for pool in np.split(np.arange(round(heterogeneity * 50_000)), 2))
        assert abs(len(parts[0]) - shared - num_sorted) <= 2
        assert len({len(part) for part in parts}) == 1


@given(st.integers(2, 5), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_partitions_by_heterogeneity_are_disjoint_and_equal(num_clients: int, q: float, seed: int) -> None:
    classes = np.arange(60) % 6
    for name, targets in (("feature", classes % 2), ("sorted-labels", classes)):
        generator = np.random.default_rng(seed)
        parts = make_partition(name, targets, num_clients, generator, {"heterogeneity": q}, classes=classes)
        assert len({len(part) for part in parts}) == 1
        assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts)) >= 60 - 3 * num_clients


def test_without_heterogeneity_classes_differ_by_sampling_noise() -> None:
    """Against a hypergeometric distribution: 6,250 of 50,000 samples, 5,000 of each class."""
    classes = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "feature", classes % 2, 8, np.random.default_rng(0))
    histograms = np.array(
        [np.bincount(classes[part], minlength=10) for part in deal({"heterogeneity": 0.0}, classes=classes)]
    )
    scores = (histograms - 625) / np.sqrt(6250 * 0.1 * 0.9 * (50_000 - 6250) / (50_000 - 1))
    assert np.abs(scores).max() < 4.5
    # Margins are fixed: 7 x 9 degrees of freedom, within four standard deviations; a stratified deal has 0.
    assert (scores**2).sum() * 0.9 * 7 / 8 == pytest.approx(7 * 9, abs=4 * np.sqrt(2 * 7 * 9))


@pytest.mark.parametrize("heterogeneity", [0.25, 0.5, 1.0])
def test_labels_are_unbalanced_by_the_random_part_alone(heterogeneity: float) -> None:
    classes = np.arange(50_000) % 10
    order = np.random.default_rng(1).permutation(50_000)
    parts = feature_partition(order, classes % 2, classes, 8, heterogeneity)
    shared = round((1 - heterogeneity) * 50_000) // 8
    first, rest = (
        np.array([np.bincount(classes[p] % 2, minlength=2) for p in pieces])
        for pieces in ([part[:shared] for part in parts], [part[shared:] for part in parts])
    )
    labels = np.bincount(classes[order[: round(heterogeneity * 50_000)]] % 2)
    assert rest.tolist() == [(labels // 8).tolist()] * 8
    assert (np.ptp(first, axis=0) > 0).all() == (shared > 0)


def test_sorted_labels_of_ten_equal_classes() -> None:
    targets = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "sorted-labels", targets, 8, np.random.default_rng(0))
    all_sorted = counts(deal({"heterogeneity": 1.0}), targets)
    assert all_sorted[0] == {0: 5000, 1: 1250}
    half = counts(deal({"heterogeneity": 0.5}), targets)
    assert half[0][0] == pytest.approx(2500 + 312.5, abs=80)
    assert half[0][1] == pytest.approx(625 + 312.5, abs=80)
    assert half[1][2] == pytest.approx(1250 + 312.5, abs=80)
    assert [sum(client.values()) for client in half] == [6250] * 8
    with pytest.raises(UserError, match="heterogeneity = 0"):
        make_partition("sorted-labels", targets, 1, np.random.default_rng(0), {})


def test_wrapped_differences() -> None:
    x, z = pixels(10, 100, 1, 255, 0, 64, 7), pixels(200, 33, 6, 255, 4, 255, 28)
    expected = (
        [3, 98, 0, 247, 0, 56, 6],
        [254, 97, 0, 239, 0, 48, 5],
        [241, 95, 0, 223, 0, 32, 3],
        [216, 91, 0, 191, 255, 0, 0],
    )
    assert [subtract(x, z, rho, "wrap").tolist() for rho in RHOS] == list(expected)


@pytest.mark.parametrize("rho", [0.0, 0.1, *RHOS, 1.0])
def test_all_differences(rho: float) -> None:
    """Against the definition, on every pair of values: trunc(x - rho z), modulo 256 or at least 0."""
    x, z = (grid.flatten() for grid in torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    exact = torch.trunc(x.double() - rho * z.double()).long()
    found = {name: subtract(x.byte(), z.byte(), rho, name) for name in ("wrap", "clip")}
    assert torch.equal(found["wrap"].long(), exact % 256)
    assert torch.equal(found["clip"].long(), exact.clamp(min=0))
    enough = x.double() >= rho * z.double()
    assert torch.equal(found["wrap"][enough], found["clip"][enough])


def test_clients_take_their_turns() -> None:
    images = torch.stack(
        [pixels(*pair) for pair in ((100, 5), (40, 80), (200, 16), (8, 255), (64, 0), (12, 128))]
    ).view(6, 1, 1, 2)
    parts = [np.array(pair) for pair in ((0, 1), (2, 3), (4, 5))]
    noise = noise_images(images, Donors(np.array([1, 2, 0]), np.array([2, 4, 1])), 0.25, "wrap")
    noisy = add_feature_noise(images, parts, noise, 0.25, "wrap").view(6, 2)
    assert noisy.tolist() == [[50, 1], [246, 76], [184, 16], [248, 255], [2, 237], [207, 109]]
    assert images[0].flatten().tolist() == [100, 5]


def test_donors_are_others() -> None:
    parts = [np.arange(4 * k, 4 * k + 4) for k in range(5)]
    for seed in range(20):
        donors = draw_donors(parts, np.random.default_rng(seed))
        assert not (donors.owners == np.arange(5)).any()
        assert (donors.samples // 4).tolist() == donors.owners.tolist()
    with pytest.raises(UserError, match="one client alone"):
        draw_donors(parts[:1], np.random.default_rng(0))


# The data set of a run.


@pytest.fixture
def _images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    generator = torch.Generator().manual_seed(0)

    def load(name: str, *, validation_fraction: float = 0.0, **options: object) -> Dataset:
        def split(count: int) -> Split:
            shape = (count, 3, 4, 4)
            inputs = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
            return Split(inputs, torch.arange(count) % 10)

        generator.manual_seed(0)
        validation = split(40) if validation_fraction else None
        names, channel = tuple("abcdefghij"), (0.5, 0.5, 0.5)
        return Dataset(name, split(200), validation, split(80), 10, names, channel, channel)

    monkeypatch.setattr(configured, "load_dataset", load)
    configured._open.cache_clear()
    yield
    configured._open.cache_clear()


def config(**values: Value) -> Config:
    given = {f"dataset.{key.replace('_', '-')}": value for key, value in values.items() if "__" not in key}
    given |= {key.replace("__", ".").replace("_", "-"): v for key, v in values.items() if "__" in key}
    return Config.from_flat(
        merge({"dataset.name": "cifar10", "partition.name": "feature", "clients.count": 4}, given)
    )


@pytest.mark.usefixtures("_images")
def test_binary_labels() -> None:
    dataset = open_dataset(config(binarize=True, validation_fraction=0.1))
    assert (dataset.num_classes, len(dataset.class_names)) == (2, 2)
    assert dataset.validation is not None
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.classes is not None
        assert split.classes.max() == 9
        assert torch.equal(split.targets, split.classes % 2)
    parts = partition_clients(config(binarize=True, partition__heterogeneity=1.0), dataset)
    assert dataset.train.classes is not None
    assert {len(dataset.train.classes[part].unique()) for part in parts} == {4}


@pytest.mark.usefixtures("_images")
@pytest.mark.parametrize("overflow", ["wrap", "clip"])
def test_every_sample_has_the_noise_of_its_client(overflow: Overflow) -> None:
    run = config(binarize=True, feature_noise=0.25, feature_noise_overflow=overflow, validation_fraction=0.1)
    noisy, clean = open_dataset(run), open_dataset(config(binarize=True, validation_fraction=0.1))
    assert noisy.validation is not None
    assert clean.validation is not None
    examples = noise_examples(open_clean_dataset(run), run, (0.0, 0.25))
    parts = partition_clients(run, noisy)
    first = torch.tensor([int(part[0]) for part in parts])
    assert torch.equal(examples[0], clean.train.inputs[first])
    assert torch.equal(examples[1], noisy.train.inputs[first])
    for part in parts:  # one image for all: equal pixels remain equal
        before, after = (split.train.inputs[torch.from_numpy(part)].int() for split in (clean, noisy))
        loss = (before - after) % 256 if overflow == "wrap" else before - after
        assert int((loss.amax(0) - loss.amin(0)).max()) <= (1 if overflow == "wrap" else 64)
    for name in ("validation", "test"):
        before, after = getattr(clean, name).inputs, getattr(noisy, name).inputs
        assert (before != after).flatten(1).any(1).float().mean() >= 0.8  # remainders stay clean
    assert torch.equal(open_dataset(run).train.inputs, noisy.train.inputs)


def bearers(before: Split, after: Split, noise: torch.Tensor, run: Config) -> list[int]:
    """Count the samples that have the noise of each client and no other's, and last the clean ones."""
    rho, overflow = run.dataset.feature_noise, run.dataset.feature_noise_overflow
    candidates = [*(subtract(before.inputs, image, rho, overflow) for image in noise), before.inputs]
    same = torch.stack([(after.inputs == one).flatten(1).all(1) for one in candidates])
    assert (same.sum(0) == 1).all()
    return [int(count) for count in same.sum(1)]


@pytest.mark.usefixtures("_images")
@pytest.mark.parametrize("overflow", ["wrap", "clip"])
@pytest.mark.parametrize("parallel", [False, True])
def test_every_split_has_the_noise_images_of_the_clients(overflow: Overflow, parallel: bool) -> None:
    keys: dict[str, Value] = {"binarize": True, "validation_fraction": 0.1}
    if parallel:
        keys |= {"feature_noise_clients": 3, "partition__name": "iid", "clients__count": 1}
    run = config(feature_noise=0.25, feature_noise_overflow=overflow, **keys)
    noisy, clean = open_dataset(run), open_clean_dataset(run)
    _, _, donors = donors_of(clean, run.dataset, PartitionScheme.of(run))
    images = noise_images(clean.train.inputs, donors, 0.25, overflow)
    assert noisy.validation is not None
    assert clean.validation is not None
    found = [
        bearers(before, after, images, run)
        for before, after in (
            (clean.train, noisy.train),
            (clean.validation, noisy.validation),
            (clean.test, noisy.test),
        )
    ]
    num_clients = 3 if parallel else 4
    for counts_, size in zip(found, (200, 40, 80), strict=True):
        *shares, remainder = counts_
        assert len(shares) == num_clients
        assert len(set(shares)) == 1
        assert sum(shares) + remainder == size
        assert remainder < 3 * num_clients  # of a random pool and one per label


@pytest.mark.usefixtures("_images")
def test_no_noise_leaves_every_byte() -> None:
    dataset = open_dataset(config(feature_noise=0.0))
    assert torch.equal(dataset.train.inputs, configured.load_dataset("cifar10", root="").train.inputs)


@pytest.mark.usefixtures("_images")
def test_pseudo_clients_of_parallel_sgd() -> None:
    run = config(feature_noise=0.125, feature_noise_clients=8, partition__name="iid", clients__count=1)
    assert len(noise_examples(open_clean_dataset(run), run, (0.0,))[0]) == 8
    assert len(partition_clients(run, open_dataset(run))[0]) == 200
    run = config(
        feature_noise=0.125, feature_noise_clients=4, partition__name="iid", clients__count=1, binarize=True
    )
    clean = open_clean_dataset(run)
    assert clean.train.classes is not None
    _, parts, _ = donors_of(clean, run.dataset, PartitionScheme.of(run))
    assert [len(part) for part in parts] == [50] * 4
    # Dealt at random: sorted ones would see at most two of the ten classes per label, and 20 samples of one.
    histograms = np.array([np.bincount(clean.train.classes.numpy()[part], minlength=10) for part in parts])
    assert histograms.min() > 0
    assert histograms.max() < 13
    with pytest.raises(UserError, match="feature-noise-clients"):
        open_dataset(config(feature_noise=0.125, clients__count=1))


@pytest.mark.parametrize("option", [{"binarize": True}, {"feature_noise": 0.1}])
def test_text_has_no_such_options(option: dict[str, Value], monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Split(torch.zeros(8, 80, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64))
    text = Dataset("shakespeare", tokens, None, tokens, 80, ("a",) * 80, (), (), kind="tokens")
    monkeypatch.setattr(configured, "load_dataset", lambda name, **options: text)
    configured._open.cache_clear()
    with pytest.raises(UserError, match="is text"):
        open_dataset(config(name="shakespeare", **option))
    configured._open.cache_clear()
