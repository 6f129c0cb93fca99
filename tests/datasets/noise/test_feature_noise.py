"""Feature noise: numbers of the specification, and relations."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from common.config import Config
from common.config_values import merge
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

RHOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)


def pixels(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


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
    with pytest.raises(UserError, match="only one client"):
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
