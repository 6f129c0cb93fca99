"""Feature noise: one image of another client is subtracted from all images of a client.

Bao, Crawshaw and Liu (ICML 2024), FeatureCIFAR: x <- x - rho z for all images x of client i, with one image z
of another client, whatever the labels. Clients are processed in order: an image z of an earlier client
already has that client's noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from common.errors import UserError
from datasets.partitions._dealing import IndexArray

Overflow = Literal["wrap", "clip"]


@dataclass(frozen=True)
class Donors:
    """Which image is subtracted from each client's images.

    Attributes
    ----------
    owners, samples : numpy.ndarray
        int64, shape (clients,): for each client the client that donates the image, and the image's index.
    """

    owners: IndexArray
    samples: IndexArray


def draw_donors(partition: Sequence[IndexArray], generator: np.random.Generator) -> Donors:
    """Choose for each client another client, and one of that client's images, uniformly.

    Raises
    ------
    UserError
        If there is no other client.
    """
    num_clients = len(partition)
    if num_clients < 2:
        raise UserError(
            "dataset.feature-noise takes an image of another client, and there is only one client: raise"
            " clients.count, or set dataset.feature-noise-clients"
        )
    owners, samples = [], []
    for client in range(num_clients):
        other = int(generator.integers(num_clients - 1))
        owners.append(other + (other >= client))
        samples.append(int(generator.choice(partition[owners[-1]])))
    return Donors(np.array(owners, dtype=np.int64), np.array(samples, dtype=np.int64))


def noise_images(inputs: torch.Tensor, donors: Donors, rho: float, overflow: Overflow) -> torch.Tensor:
    """Return the image that is subtracted, times rho, from each client's: uint8, shape (clients, C, H, W).

    The image of a client that is processed earlier includes that client's noise.
    """
    images = inputs[torch.from_numpy(donors.samples)].clone()
    for client, owner in enumerate(donors.owners.tolist()):
        if owner < client:
            images[client] = subtract(images[client], images[owner], rho, overflow)
    return images


def subtract(inputs: torch.Tensor, noise: torch.Tensor, rho: float, overflow: Overflow) -> torch.Tensor:
    """Return x - rho z, rounded towards zero, as uint8.

    ``wrap``: modulo 256, as the authors' cast does to negative values: 10 - 0.25 * 200 becomes 216.
    ``clip``: negative values become 0.

    Parameters
    ----------
    inputs, noise : torch.Tensor
        uint8; `noise` is broadcast.
    rho : float
        From 0 to 1.
    """
    scaled = rho * noise.double()
    above, below = scaled.ceil().to(torch.uint8), scaled.floor().to(torch.uint8)
    positive = inputs >= above  # then rounding towards zero rounds down
    if overflow == "clip":
        return torch.where(positive, inputs - above, 0)
    return inputs - torch.where(positive, above, below)


def add_feature_noise(
    inputs: torch.Tensor,
    partition: Sequence[IndexArray],
    noise: torch.Tensor,
    rho: float,
    overflow: Overflow,
) -> torch.Tensor:
    """Return a copy of `inputs` with each client's noise on its samples; samples of no client stay clean."""
    noisy = inputs.clone()
    for indices, image in zip(partition, noise, strict=True):
        index = torch.from_numpy(indices)
        noisy[index] = subtract(inputs[index], image, rho, overflow)
    return noisy
