"""What all contenders do: the CIFAR-10 workload of pfl-research's benchmarks, on random images.

Granqvist et al., NeurIPS 2024: 50 of 1000 clients with 50 images each, one epoch, batches of 10, SGD with
rate 0.1, every client's model counting alike. The values of the images do not change what a step costs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Workload:
    """Numbers of clients and of images; images have 3 channels and `size` x `size` pixels, of ten classes."""

    clients: int = 1000
    cohort: int = 50
    images: int = 50
    batch_size: int = 10
    rate: float = 0.1
    size: int = 32

    @property
    def steps(self) -> int:
        """Optimiser steps of a round."""
        return self.cohort * -(-self.images // self.batch_size)


TINY = Workload(clients=4, cohort=2, images=6, batch_size=3, size=8)


@functools.lru_cache(maxsize=1)
def data(workload: Workload) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, float32 (clients * images, 3, size, size), normalised beforehand, and their classes."""
    count = workload.clients * workload.images
    images = torch.randn(count, 3, workload.size, workload.size, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(count) % 10


def of_client(workload: Workload, client: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a client's images and classes: views."""
    rows = slice(client * workload.images, (client + 1) * workload.images)
    return data(workload)[0][rows], data(workload)[1][rows]


class Cnn(nn.Sequential):
    """The network of that workload, ``model.name = "small-cnn"`` here."""

    steps = 0
    """Forward passes in training mode, of all instances."""

    def __init__(self, size: int = 32) -> None:
        super().__init__(
            nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(),
            nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
            nn.Linear(64 * ((size - 4) // 2) ** 2, 128), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(128, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        Cnn.steps += self.training
        logits: torch.Tensor = super().forward(x)
        return logits
