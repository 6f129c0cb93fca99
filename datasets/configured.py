"""The data of a run, as its configuration asks for them."""

import functools

import numpy as np
import numpy.typing as npt

from common.config import Config, DatasetSection, Value, drop_inherited_defaults
from common.errors import UserError
from common.randomness import numpy_generator
from datasets.class_groups import IndexArray, count_groups, cumulative_groups
from datasets.dataset import Dataset
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
    dataset = _open(config.dataset, data_root or config.dataset.root, config.seed, num_clients)
    check_noise(dataset, config.dataset.client_noise)
    _check_reports(config, dataset)
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
    if loaded.is_text and dataset.augmentation != "none":
        raise UserError(
            f"dataset.augmentation '{dataset.augmentation}' is for images, and {dataset.name!r} is text:"
            " set it to 'none'"
        )
    return loaded


@functools.lru_cache(maxsize=1)
def partition_clients(config: Config, dataset: Dataset) -> list[npt.NDArray[np.int64]]:
    """Partition the training set among the clients: a pure function of the configuration and the labels.

    Who asks again in the same process gets the same arrays: do not write to them.
    """
    name, train = config.partition.name, dataset.train
    return make_partition(
        name,
        _labels(name, dataset),
        config.clients.count,
        numpy_generator(config.seed, "partition"),
        _parameters(config),
        None if train.clients is None else train.clients.numpy(),
    )


def _labels(partition: str, dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the label of every training sample; samples with many labels count as of one class."""
    targets = dataset.train.targets.numpy()
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
