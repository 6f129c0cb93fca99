"""The data of a run, as its configuration asks for them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from common.config import Config, DatasetSection, Value, drop_inherited_defaults
from common.errors import UserError
from common.randomness import numpy_generator
from datasets.dataset import Dataset, Split
from datasets.feature_noise import Donors, add_feature_noise, draw_donors, noise_images, subtract
from datasets.loading import load_dataset
from datasets.noise import check_noise
from datasets.partitions import IndexArray, make_partition, partition_parameters

_NO_NOISE = {"feature_noise": 0.0, "feature_noise_overflow": "wrap", "feature_noise_clients": 0}


def open_dataset(config: Config, data_root: str = "") -> Dataset:
    """Load the run's data set from `data_root`, by default ``dataset.root``."""
    # A node with data of its own keeps all of its natural clients: they are one client of the run.
    natural_clients = config.dataset.natural_clients or config.clients.count
    num_clients = None if config.partition.name == "node" else natural_clients
    clean = config.dataset.model_copy(update=_NO_NOISE)  # runs with noise of any kind share the clean data
    dataset = _open(clean, data_root or config.dataset.root, config.seed, num_clients)
    check_noise(dataset, config.dataset.client_noise)
    if config.dataset.feature_noise > 0:
        return _noisy(dataset, config.dataset, _Scheme.of(config))
    return dataset


@functools.lru_cache(maxsize=1)
def _open(dataset: DatasetSection, root: str, seed: int, num_clients: int | None) -> Dataset:
    # Server and clients of the sequential runtime live in one process: they share the tensors.
    loaded = load_dataset(
        dataset.name,
        root=root,
        image_size=dataset.image_size,
        download=dataset.download,
        validation_fraction=dataset.validation_fraction,
        seed=seed,
        num_clients=num_clients,
        parameters=dataset.parameters,
    )
    if loaded.is_text and dataset.augmentation != "none":
        raise UserError(
            f"dataset.augmentation '{dataset.augmentation}' is for images, and {dataset.name!r} is text:"
            " set it to 'none'"
        )
    return _binarized(loaded) if dataset.binarize else loaded


def _binarized(dataset: Dataset) -> Dataset:
    """Return a data set whose labels are the classes modulo 2."""
    if dataset.is_text:
        raise UserError(f"dataset.binarize is for images, and {dataset.name!r} is text: set it to false")

    def binary(split: Split) -> Split:
        return replace(split, targets=split.targets % 2, classes=split.targets)

    return replace(
        dataset,
        train=binary(dataset.train),
        validation=None if dataset.validation is None else binary(dataset.validation),
        test=binary(dataset.test),
        num_classes=2,
        class_names=("even class", "odd class"),
    )


@functools.lru_cache(maxsize=1)
def partition_clients(config: Config, dataset: Dataset) -> list[npt.NDArray[np.int64]]:
    """Partition the training set among the clients: a pure function of the configuration and the labels.

    Who asks again in the same process gets the same arrays: do not write to them.
    """
    return _Scheme.of(config).deal(dataset, dataset.train, numpy_generator(config.seed, "partition"))


@dataclass(frozen=True)
class _Scheme:
    """How a run deals samples to clients."""

    name: str
    parameters: tuple[tuple[str, Value], ...]
    num_clients: int
    seed: int

    @classmethod
    def of(cls, config: Config) -> "_Scheme":
        given = tuple(sorted(config.partition.parameters.items()))
        return cls(config.partition.name, given, config.clients.count, config.seed)

    def deal(self, dataset: Dataset, split: Split, generator: np.random.Generator) -> list[IndexArray]:
        return make_partition(
            self.name,
            _labels(self.name, dataset, split),
            self.num_clients,
            generator,
            drop_inherited_defaults("partition", dict(self.parameters), partition_parameters(self.name)),
            None if split.clients is None else split.clients.numpy(),
            None if split.classes is None else split.classes.numpy(),
        )


@functools.lru_cache(maxsize=1)
def _noisy(dataset: Dataset, section: DatasetSection, scheme: _Scheme) -> Dataset:
    """Return a data set with feature noise in all of its splits (``datasets.feature_noise``)."""
    scheme, partition, donors = _donors(dataset, section, scheme)
    rho, overflow = section.feature_noise, section.feature_noise_overflow
    images = noise_images(dataset.train.inputs, donors, rho, overflow)

    def noisy(split: Split, parts: list[IndexArray]) -> Split:
        return replace(split, inputs=add_feature_noise(split.inputs, parts, images, rho, overflow))

    def dealt(split: Split, key: int) -> Split:
        return noisy(split, scheme.deal(dataset, split, numpy_generator(scheme.seed, "feature-noise", key)))

    validation = None if dataset.validation is None else dealt(dataset.validation, 2)
    return replace(
        dataset, train=noisy(dataset.train, partition), validation=validation, test=dealt(dataset.test, 1)
    )


def _donors(
    dataset: Dataset, section: DatasetSection, scheme: _Scheme
) -> tuple[_Scheme, list[IndexArray], Donors]:
    """Return who has which noise: the scheme, its partition of the training set, and whose images are it."""
    if dataset.is_text:
        raise UserError(f"dataset.feature-noise is for images, and {dataset.name!r} is text: set it to 0")
    if scheme.name == "node":
        raise UserError("dataset.feature-noise takes images of other clients: not with partition 'node'")
    if section.feature_noise_clients:
        iid: tuple[tuple[str, Value], ...] = (("heterogeneity", 0.0),)
        scheme = _Scheme("feature", iid, section.feature_noise_clients, scheme.seed)
    partition = scheme.deal(dataset, dataset.train, numpy_generator(scheme.seed, "partition"))
    return scheme, partition, draw_donors(partition, numpy_generator(scheme.seed, "feature-noise", 0))


def noise_examples(config: Config, magnitudes: Sequence[float]) -> torch.Tensor:
    """Return one training image of each client with its feature noise at several magnitudes.

    Returns
    -------
    torch.Tensor
        uint8, shape (magnitudes, clients, channels, height, width).
    """
    clean = open_dataset(config.model_copy(update={"dataset": config.dataset.model_copy(update=_NO_NOISE)}))
    _, partition, donors = _donors(clean, config.dataset, _Scheme.of(config))
    inputs, overflow = clean.train.inputs, config.dataset.feature_noise_overflow
    chosen = inputs[torch.tensor([int(part[0]) for part in partition])]
    return torch.stack(
        [subtract(chosen, noise_images(inputs, donors, rho, overflow), rho, overflow) for rho in magnitudes]
    )


def _labels(partition: str, dataset: Dataset, split: Split) -> npt.NDArray[np.int64]:
    """Return the label of every sample; samples with many labels count as of one class."""
    targets = split.targets.numpy()
    if targets.ndim == 1:
        return targets
    if partition not in ("iid", "natural"):
        raise UserError(
            f"partition {partition!r} needs one label per sample, and those of dataset {dataset.name!r} have"
            " one per position: use 'natural' or 'iid'"
        )
    return np.zeros(len(targets), dtype=np.int64)
