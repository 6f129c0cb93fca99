"""Natural clients: the client that each sample comes from."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from common.errors import UserError
from datasets.dataset import Dataset, Split


def number_clients(
    owners: Mapping[str, np.ndarray | None], name: str, names: tuple[str, ...] = ()
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Assign numbers to the clients, by descending number of training samples, then by name.

    Parameters
    ----------
    owners : mapping
        Part of the data set → client of every sample, strings or integers, or None.
    name : str
        The data set, for messages.
    names : tuple of str, optional
        Names of the clients, into which the integers of `owners` are indices; otherwise each client is named
        by its value.

    Returns
    -------
    dict, tuple
        Part → client numbers, for the parts that have clients; and the clients' names.

    Raises
    ------
    UserError
        If a client has no training sample, or a number has no name.
    """
    if owners["train"] is None:
        if strange := [part for part, values in owners.items() if values is not None]:
            raise UserError(f"dataset '{name}': '{strange[0]}' has clients, and 'train' has none")
        return {}, ()
    if names:
        return {part: torch.from_numpy(ids) for part, ids in owners.items() if ids is not None}, names
    texts = {
        part: _texts(values, f"dataset '{name}', {part}")
        for part, values in owners.items()
        if values is not None
    }
    values, counts = np.unique(texts["train"], return_counts=True)
    names = by_size({str(value): int(count) for value, count in zip(values, counts, strict=True)})
    number = {client: index for index, client in enumerate(names)}
    for part, clients in texts.items():
        if unknown := set(map(str, clients)) - set(names):
            raise UserError(f"dataset '{name}', {part}: client '{min(unknown)}' has no training sample")
    return {
        part: torch.tensor([number[str(client)] for client in clients], dtype=torch.int64)
        for part, clients in texts.items()
    }, names


def by_size(samples: Mapping[str, int]) -> tuple[str, ...]:
    """Return clients by descending number of training samples, then by name, numeric names by value."""
    return tuple(sorted(samples, key=lambda name: (-samples[name], *_natural(name))))


def keep_largest(dataset: Dataset, num_clients: int) -> Dataset:
    """Return a data set with only the samples of the largest clients.

    Raises
    ------
    UserError
        If there are fewer clients.
    """
    if num_clients > len(dataset.client_names):
        raise UserError(
            f"clients.count is {num_clients}, and dataset '{dataset.name}' has {len(dataset.client_names)}"
            " clients: lower it"
        )
    if num_clients == len(dataset.client_names):
        return dataset

    def kept(split: Split) -> Split:
        if split.clients is None:
            return split
        return split.subset(np.flatnonzero(split.clients.numpy() < num_clients))

    validation = None if dataset.validation is None else kept(dataset.validation)
    return replace(
        dataset,
        train=kept(dataset.train),
        validation=validation,
        test=kept(dataset.test),
        client_names=dataset.client_names[:num_clients],
    )


def _texts(values: np.ndarray, where: str) -> np.ndarray:
    if values.ndim != 1:
        raise UserError(f"{where}: clients are one per sample, not an array of shape {values.shape}")
    if values.dtype.kind == "f":
        if not np.all(np.isfinite(values)) or not np.all(values == np.round(values)):
            raise UserError(f"{where}: clients must be strings or integers")
        values = values.astype(np.int64)
    return np.array([str(value).strip() for value in values])


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.lstrip("-").isdecimal() and len(name) < 19 else (1, 0, name)
