"""How a run's configuration deals samples to clients."""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from common.config import Config
from common.defaults import drop_inherited_defaults
from common.errors import UserError
from common.global_generators import seeded_globally
from common.plugin_kinds import PARTITION
from common.plugins import is_from_outside
from common.randomness import numpy_generator, torch_seed
from common.sections import Value
from datasets.dataset import Dataset, Split
from datasets.partition import Partition
from datasets.partitions import make_partition, partition_parameters

# Partitions that do not need labels.
_WITHOUT_LABELS = ("iid", "homo", "quantity", "natural")


@functools.lru_cache(maxsize=1)
def partition_clients(config: Config, dataset: Dataset) -> Partition:
    """Partition the training set among the clients: a pure function of the configuration and the labels.

    The arrays are cached and shared within a process: do not write to them.
    """
    scheme = PartitionScheme.of(config)
    return scheme.deal(dataset, dataset.train, scheme.generator())


@dataclass(frozen=True)
class PartitionScheme:
    """How a run deals samples to clients."""

    name: str
    parameters: tuple[tuple[str, Value], ...]
    num_clients: int
    seed: int

    @classmethod
    def of(cls, config: Config) -> "PartitionScheme":
        """Return the scheme of a run."""
        section = config.partition
        seed = section.seed if section.seed >= 0 else config.seed
        return cls(section.name, tuple(sorted(section.parameters.items())), config.clients.count, seed)

    def generator(self) -> np.random.Generator:
        """Return the generator of the partition, at its beginning."""
        return numpy_generator(self.seed, "partition")

    def arguments(self) -> dict[str, Value]:
        """Return the parameters ``partition.*`` that belong to the scheme."""
        return drop_inherited_defaults("partition", dict(self.parameters), partition_parameters(self.name))

    def deal(self, dataset: Dataset, split: Split, generator: np.random.Generator) -> Partition:
        """Deal the samples of a split to the clients: the same way in every process."""
        seed, is_outside = torch_seed(self.seed, "partition"), is_from_outside(PARTITION, self.name)
        with seeded_globally(seed, needed=is_outside):
            return make_partition(
                self.name,
                labels_of(self.name, dataset, split),
                self.num_clients,
                generator,
                self.arguments(),
                None if split.clients is None else split.clients.numpy(),
                None if split.classes is None else split.classes.numpy(),
            )


def labels_of(partition: str, dataset: Dataset, split: Split) -> npt.NDArray[np.int64]:
    """Return the label of every sample; samples with several labels count as one class."""
    targets = split.targets.numpy()
    if targets.ndim == 1 and not dataset.is_regression:
        return targets
    if partition not in _WITHOUT_LABELS:
        what = "numbers" if dataset.is_regression else "one per position"
        raise UserError(
            f"partition {partition!r} needs a class for each sample, and dataset {dataset.name!r} has {what}:"
            f" use one of {', '.join(map(repr, _WITHOUT_LABELS))}"
        )
    return split.labels()
