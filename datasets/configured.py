"""The data of a run, as its configuration asks for them."""

import functools

import numpy as np
import numpy.typing as npt

from common.config import Config, DatasetSection, drop_inherited_defaults
from common.randomness import numpy_generator
from datasets.dataset import Dataset
from datasets.loading import load_dataset
from datasets.noise import check_noise
from datasets.partitions import make_partition, partition_parameters


def open_dataset(config: Config, data_root: str = "") -> Dataset:
    """Load the run's data set from `data_root`, by default ``dataset.root``."""
    dataset = _open(config.dataset, data_root or config.dataset.root, config.seed)
    check_noise(dataset, config.dataset.client_noise)
    return dataset


@functools.lru_cache(maxsize=1)
def _open(dataset: DatasetSection, root: str, seed: int) -> Dataset:
    # Server and clients of the sequential runtime live in one process: they share the tensors.
    return load_dataset(
        dataset.name,
        root=root,
        image_size=dataset.image_size,
        download=dataset.download,
        validation_fraction=dataset.validation_fraction,
        seed=seed,
    )


@functools.lru_cache(maxsize=1)
def partition_clients(config: Config, dataset: Dataset) -> list[npt.NDArray[np.int64]]:
    """Partition the training set among the clients: a pure function of the configuration and the labels.

    Who asks again in the same process gets the same arrays: do not write to them.
    """
    name = config.partition.name
    return make_partition(
        name,
        dataset.train.targets.numpy(),
        config.clients.count,
        numpy_generator(config.seed, "partition"),
        drop_inherited_defaults("partition", config.partition.parameters, partition_parameters(name)),
    )
