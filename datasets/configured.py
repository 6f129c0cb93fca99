"""Open the data set that a run's configuration asks for."""

import functools
from dataclasses import replace

from common.config import Config
from common.errors import NoEffectError, UserError
from common.global_generators import seeded_globally
from common.plugin_kinds import LOSS
from common.plugins import project_names
from common.randomness import torch_seed
from common.sections import DatasetSection, Value
from datasets.client_data.client_tests import check_reports
from datasets.dataset import Dataset, Split
from datasets.loading import load_dataset
from datasets.long_tail import LongTail
from datasets.noise.client_noise import check_noise
from datasets.noise.feature_noise_of_clients import with_feature_noise
from datasets.partition_scheme import PartitionScheme

_NO_NOISE = {"feature_noise": 0.0, "feature_noise_overflow": "wrap", "feature_noise_clients": 0}


def open_dataset(config: Config, data_root: str = "") -> Dataset:
    """Load the run's data set from `data_root`, by default ``dataset.root``."""
    if config.partition.name == "node" and config.dataset.imbalance_factor < 1:
        raise UserError(
            "dataset.imbalance-factor makes one training set long-tailed before it is dealt to clients, and"
            " with partition 'node' each has its own: leave it at 1"
        )
    num_clients = num_natural_clients(config)
    clean = config.dataset.model_copy(update=_NO_NOISE)  # runs with noise of any kind share the clean data
    with seeded_globally(torch_seed(config.seed, "data")):  # for code that draws from the global generators
        root = data_root or config.dataset.root
        dataset = _open(clean, root, config.seed, num_clients, _takes_numbers(config))
    if _takes_numbers(config) and not dataset.is_regression:
        raise UserError(
            f"the targets of dataset '{dataset.name}' are classes, and the loss is for numbers: use another"
            " loss, such as 'cross-entropy'"
        )
    _check_kind(config, dataset)
    if config.dataset.natural_clients and dataset.train.clients is None:
        raise NoEffectError(
            "dataset.natural-clients",
            f"dataset.natural-clients = {config.dataset.natural_clients} would have no effect: the data of"
            f" dataset '{dataset.name}' do not come from clients of their own; leave it out",
        )
    check_noise(dataset, config.dataset.client_noise)
    check_reports(config, dataset)
    if config.dataset.feature_noise > 0:
        return with_feature_noise(dataset, config.dataset, PartitionScheme.of(config))
    return dataset


def num_natural_clients(config: Config) -> int | None:
    """Return how many natural clients a run keeps, largest first; None: all of them."""
    if config.partition.name == "node":  # they are one client of the run
        return None
    if config.dataset.natural_clients:
        return config.dataset.natural_clients
    is_cut = config.dataset.name == "shakespeare" or config.partition.name == "natural"
    return config.clients.count if is_cut else None


def open_clean_dataset(config: Config) -> Dataset:
    """Load the run's data set without its feature noise."""
    return open_dataset(config.model_copy(update={"dataset": config.dataset.model_copy(update=_NO_NOISE)}))


@functools.lru_cache(maxsize=1)
def _open(
    dataset: DatasetSection, root: str, seed: int, num_clients: int | None, numbers: bool | None
) -> Dataset:
    # In the sequential runtime, server and clients live in one process and share the tensors.
    is_balanced = dataset.imbalance_factor == 1
    tail = LongTail(dataset.imbalance_factor, dataset.imbalance_profile, dataset.imbalance_seed)
    loaded = load_dataset(
        dataset.name,
        root=root,
        image_size=dataset.image_size,
        download=dataset.download,
        validation_fraction=dataset.validation_fraction,
        validation_seed=dataset.validation_seed if dataset.validation_seed >= 0 else None,
        seed=seed,
        num_clients=num_clients,
        long_tail=None if is_balanced else tail,
        normalization=dataset.normalization,
        numbers=numbers,
        parameters=dataset.parameters,
    )
    _check_classes(dataset, loaded)
    return _binarized(loaded) if dataset.binarize else loaded


def _takes_numbers(config: Config) -> bool | None:
    """Return whether the loss is for regression, if it is one of the project's; None: it is a user's."""
    name = config.loss.name
    return name == "mse" if name in project_names(LOSS) else None


def _check_kind(config: Config, dataset: Dataset) -> None:
    """Refuse settings that are for another kind of data."""
    what = {"images": "images", "features": "features", "tokens": "text"}[dataset.kind]
    settings: tuple[tuple[str, Value, Value, tuple[str, ...]], ...] = (
        ("augmentation.name", config.augmentation.name, "none", ("images",)),
        ("augmentation.cutout", config.augmentation.cutout, 0, ("images",)),
        ("dataset.normalization", config.dataset.normalization, "dataset", ("images", "features")),
    )
    for key, value, off, kinds in settings:
        if dataset.kind not in kinds and value != off:
            raise UserError(
                f"{key} '{value}' is for images, and {dataset.name!r} is {what}: set it to '{off}'"
            )


def _check_classes(section: DatasetSection, dataset: Dataset) -> None:
    """Refuse settings for classes where there are none."""
    for key, is_set in (("label-noise", section.label_noise > 0), ("binarize", section.binarize)):
        if dataset.is_regression and is_set:
            raise UserError(f"dataset.{key} is for classes, and {dataset.name!r} has numbers: leave it out")
    if not dataset.is_regression and dataset.num_classes == 1:
        raise UserError(
            f"dataset {dataset.name!r} has one class, {dataset.class_names[0]!r}, so that there is nothing to"
            " learn: look at its labels (of tables dataset.label); if other nodes have other classes, name"
            " all in dataset.classes"
        )


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
