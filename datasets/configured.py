"""The data of a run, as its configuration asks for them."""

import functools
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from common.config import Config, DatasetSection, drop_inherited_defaults
from common.errors import UserError
from common.randomness import numpy_generator
from datasets.dataset import Dataset
from datasets.loading import load_dataset
from datasets.noise import check_noise
from datasets.partitions import make_partition, partition_parameters


def open_dataset(config: Config, data_root: str = "") -> Dataset:
    """Load the run's data set from `data_root`, by default ``dataset.root``."""
    # A node with data of its own keeps all of its natural clients: they are one client of the run.
    natural_clients = config.dataset.natural_clients or config.clients.count
    num_clients = None if config.partition.name == "node" else natural_clients
    dataset = _open(config.dataset, data_root or config.dataset.root, config.seed, num_clients)
    check_noise(dataset, config.dataset.client_noise)
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
    for key, value, off in (
        ("augmentation", dataset.augmentation, "none"),
        ("cutout", dataset.cutout, 0),
        ("normalization", dataset.normalization, "data"),
    ):
        if loaded.is_text and value != off:
            raise UserError(
                f"dataset.{key} '{value}' is for images, and {dataset.name!r} is text: set it to '{off}'"
            )
    if dataset.normalization == "data":
        return loaded
    mean, std = (0.5, 0.5) if dataset.normalization == "half" else (0.0, 1.0)
    channels = len(loaded.mean)
    return replace(loaded, mean=(mean,) * channels, std=(std,) * channels)


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
        drop_inherited_defaults("partition", config.partition.parameters, partition_parameters(name)),
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
