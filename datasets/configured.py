"""The data of a run, as its configuration asks for them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from common.config import Config, drop_inherited_defaults
from common.errors import UserError
from common.randomness import numpy_generator
from common.sections import DatasetSection, Value
from datasets.class_groups import IndexArray, count_groups, cumulative_groups
from datasets.dataset import Dataset, Split
from datasets.feature_noise import Donors, add_feature_noise, draw_donors, noise_images, subtract
from datasets.loading import load_dataset
from datasets.local_tests import (
    LocalTests,
    draw_local_tests,
    keyed_draw,
    legacy_draw,
    nominal_test_counts,
)
from datasets.long_tail import LongTail
from datasets.noise import check_noise
from datasets.partition_report import label_counts
from datasets.partitions import make_partition, partition_parameters
from datasets.partitions.fed_lt import PUBLISHED_ALPHA, PUBLISHED_SEED, generator_after

_NO_NOISE = {"feature_noise": 0.0, "feature_noise_overflow": "wrap", "feature_noise_clients": 0}


def open_dataset(config: Config, data_root: str = "") -> Dataset:
    """Load the run's data set from `data_root`, by default ``dataset.root``."""
    # A node with data of its own keeps all of its natural clients: they are one client of the run.
    if config.partition.name == "node" and config.dataset.imbalance_factor < 1:
        raise UserError(
            "dataset.imbalance-factor makes one training set long-tailed before it is dealt to clients, and"
            " with partition 'node' each has its own: leave it at 1"
        )
    natural_clients = config.dataset.natural_clients or config.clients.count
    keeps_all = config.partition.name == "node"
    if config.dataset.name == "image-folder" and not config.dataset.natural_clients:
        keeps_all |= config.partition.name != "natural"  # users are not asked for
    num_clients = None if keeps_all else natural_clients
    clean = config.dataset.model_copy(update=_NO_NOISE)  # runs with noise of any kind share the clean data
    dataset = _open(clean, data_root or config.dataset.root, config.seed, num_clients)
    check_noise(dataset, config.dataset.client_noise)
    _check_reports(config, dataset)
    if config.dataset.feature_noise > 0:
        return _noisy(dataset, config.dataset, _Scheme.of(config))
    return dataset


@functools.lru_cache(maxsize=1)
def _open(dataset: DatasetSection, root: str, seed: int, num_clients: int | None) -> Dataset:
    # Server and clients of the sequential runtime live in one process: they share the tensors.
    is_balanced = dataset.imbalance_factor == 1
    tail = LongTail(dataset.imbalance_factor, dataset.imbalance_profile, dataset.imbalance_seed)
    loaded = load_dataset(
        dataset.name,
        root=root,
        image_size=dataset.image_size,
        download=dataset.download,
        validation_fraction=dataset.validation_fraction,
        seed=seed,
        num_clients=num_clients,
        long_tail=None if is_balanced else tail,
        normalization=dataset.normalization,
        parameters=dataset.parameters,
    )
    for key, value, off in (
        ("augmentation", dataset.augmentation, "none"),
        ("cutout", dataset.cutout, 0),
        ("normalization", dataset.normalization, "dataset"),
    ):
        if loaded.is_text and value != off:
            raise UserError(
                f"dataset.{key} '{value}' is for images, and {dataset.name!r} is text: set it to '{off}'"
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


def _parameters(config: Config) -> dict[str, Value]:
    name = config.partition.name
    return drop_inherited_defaults("partition", config.partition.parameters, partition_parameters(name))


@functools.lru_cache(maxsize=1)
def client_label_counts(config: Config, dataset: Dataset) -> IndexArray:
    """Return how many training samples of each class each client holds: int64, (clients, classes)."""
    return label_counts(
        dataset.train.targets.numpy(), partition_clients(config, dataset), dataset.num_classes
    )


@functools.lru_cache(maxsize=1)
def local_tests(config: Config, dataset: Dataset) -> LocalTests:
    """Return the clients' test sets by training distribution (``clients.test-data``).

    With ``partition.name = "fed-lt"`` they are drawn from the stream of the partition, as in the authors'
    code; otherwise from a generator per client.
    """
    if config.partition.name == "fed-lt":
        generator = numpy_generator(config.seed, "partition")
        parameters = _parameters(config)
        legacy = generator_after(
            dataset.train.targets.numpy(),
            config.clients.count,
            generator,
            float(parameters.get("alpha", PUBLISHED_ALPHA)),
            int(parameters.get("legacy-seed", PUBLISHED_SEED)),
        )
        draw = legacy_draw(legacy)
    else:
        clients = range(config.clients.count)
        draw = keyed_draw([numpy_generator(config.seed, "local-test", client) for client in clients])
    return draw_local_tests(client_label_counts(config, dataset), dataset.test.targets.numpy(), draw)


def global_class_groups(config: Config, dataset: Dataset) -> IndexArray | None:
    """Return head (0), middle (1) or tail (2) for each class; None if no groups are reported.

    The cumulative rule counts what all clients' test sets by training distribution would have together, as
    the authors' code does; the other one, and nodes with data of their own, training samples.
    """
    if config.class_groups == "none":
        return None
    trained = np.bincount(dataset.train.targets.numpy(), minlength=dataset.num_classes)
    if config.class_groups == "counts":
        return count_groups(trained)
    if config.partition.name == "node":
        return cumulative_groups(trained)
    counts = nominal_test_counts(client_label_counts(config, dataset), len(dataset.test))
    return cumulative_groups(counts.sum(axis=0))


def client_class_groups(config: Config, dataset: Dataset, client_id: int) -> IndexArray | None:
    """Return the groups of a client: of its own test set by training distribution.

    With the rule of counts, and on nodes with data of their own, they are those of the training set at hand.
    """
    if config.class_groups != "cumulative" or config.partition.name == "node":
        return global_class_groups(config, dataset)
    counts = nominal_test_counts(client_label_counts(config, dataset), len(dataset.test))
    return cumulative_groups(counts[client_id])


def _check_reports(config: Config, dataset: Dataset) -> None:
    """Refuse what needs one label per sample, and clients that the server knows.

    Raises
    ------
    UserError
        If ``clients.test-data`` or ``evaluate.groups`` does not go with the data or the partition.
    """
    one_label_each = not dataset.target_shape and dataset.test.clients is None
    if config.class_groups != "none" and not one_label_each:
        raise UserError(
            f"evaluate.groups '{config.evaluate.groups}' is for data with one label per sample and a test set"
            f" for all clients, which {dataset.name!r} is not: set it to 'none'"
        )
    if config.clients.test_data == "training-distribution":
        if not one_label_each:
            raise UserError(
                "clients.test-data 'training-distribution' is for data with one label per sample and a test"
                f" set for all clients, which {dataset.name!r} is not: set it to 'class-weighted'"
            )
        if config.partition.name == "node":
            raise UserError(
                "clients.test-data 'training-distribution' compares all clients' data, and with partition"
                " 'node' each has its own: set it to 'class-weighted'"
            )
