"""The feature noise that the configuration asks for, and which client's image is whose noise."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch

from common.config import Config
from common.errors import UserError
from common.randomness import numpy_generator
from common.sections import DatasetSection, Value
from datasets.client_data.class_groups import IndexArray
from datasets.dataset import Dataset, Split
from datasets.noise.feature_noise import Donors, add_feature_noise, draw_donors, noise_images, subtract
from datasets.partition_scheme import PartitionScheme


@functools.lru_cache(maxsize=1)
def with_feature_noise(dataset: Dataset, section: DatasetSection, scheme: PartitionScheme) -> Dataset:
    """Return a data set with feature noise in all of its splits (``datasets.noise.feature_noise``)."""
    scheme, partition, donors = donors_of(dataset, section, scheme)
    rho, overflow = section.feature_noise, section.feature_noise_overflow
    images = noise_images(dataset.train.inputs, donors, rho, overflow)

    def noisy(split: Split, parts: Sequence[IndexArray]) -> Split:
        return replace(split, inputs=add_feature_noise(split.inputs, parts, images, rho, overflow))

    def dealt(split: Split, key: int) -> Split:
        return noisy(split, scheme.deal(dataset, split, numpy_generator(scheme.seed, "feature-noise", key)))

    validation = None if dataset.validation is None else dealt(dataset.validation, 2)
    return replace(
        dataset, train=noisy(dataset.train, partition), validation=validation, test=dealt(dataset.test, 1)
    )


def donors_of(
    dataset: Dataset, section: DatasetSection, scheme: PartitionScheme
) -> tuple[PartitionScheme, Sequence[IndexArray], Donors]:
    """Return the scheme whose clients have the noise, its partition of the training set, and the donors."""
    if dataset.kind != "images":
        what = "text" if dataset.is_text else dataset.kind
        raise UserError(f"dataset.feature-noise is for images, and {dataset.name!r} is {what}: set it to 0")
    if scheme.name == "node":
        raise UserError("dataset.feature-noise takes images of other clients: not with partition 'node'")
    if section.feature_noise_clients:
        iid: tuple[tuple[str, Value], ...] = (("heterogeneity", 0.0),)
        scheme = PartitionScheme("feature", iid, section.feature_noise_clients, scheme.seed)
    partition = scheme.deal(dataset, dataset.train, scheme.generator())
    return scheme, partition, draw_donors(partition, numpy_generator(scheme.seed, "feature-noise", 0))


def noise_examples(clean: Dataset, config: Config, magnitudes: Sequence[float]) -> torch.Tensor:
    """Return one training image of each client of a clean data set with its noise at several magnitudes.

    Returns
    -------
    torch.Tensor
        uint8, shape (magnitudes, clients, channels, height, width).
    """
    _, partition, donors = donors_of(clean, config.dataset, PartitionScheme.of(config))
    inputs, overflow = clean.train.inputs, config.dataset.feature_noise_overflow
    chosen = inputs[torch.tensor([int(part[0]) for part in partition])]
    return torch.stack(
        [subtract(chosen, noise_images(inputs, donors, rho, overflow), rho, overflow) for rho in magnitudes]
    )
