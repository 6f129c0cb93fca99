"""Augmentation and normalisation of whole batches, on the device that holds them."""

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from datasets.dataset import Dataset


class Normalizer:
    """Scale uint8 pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    mean, std : sequence of float
        Per-channel statistics on the [0, 1] scale, as in `datasets.dataset.Dataset`.
    device : torch.device or str, default "cpu"
        Where the batches live.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
    ) -> None:
        center = torch.tensor(mean, dtype=torch.float64)
        # A constant channel has no spread to divide by.
        spread = torch.tensor([value or 1.0 for value in std], dtype=torch.float64)
        self._scale = (1 / (255 * spread)).to(device, torch.float32).view(-1, 1, 1)
        self._shift = (-center / spread).to(device, torch.float32).view(-1, 1, 1)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 images from uint8 ones, ``(..., channels, height, width)``."""
        return inputs.to(torch.float32).mul_(self._scale).add_(self._shift)


def token_ids(inputs: torch.Tensor) -> torch.Tensor:
    """Return the uint8 token ids of a text as the integers that an embedding takes."""
    return inputs.to(torch.int32)


def make_normalizer(
    dataset: Dataset, device: torch.device | str = "cpu"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what turns raw inputs into the model's: a `Normalizer` for images, `token_ids` for text."""
    return token_ids if dataset.is_text else Normalizer(dataset.mean, dataset.std, device)


def crop_flip(
    inputs: torch.Tensor, generator: torch.Generator, padding: int, horizontal_flip: bool = True
) -> torch.Tensor:
    """Shift every image by up to ``padding`` pixels, filling with zeros, and mirror half of them.

    The usual CIFAR augmentation (He et al. 2016, section 4.2): pad, crop at random, flip at random. Every
    image has its own offsets.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Source of the offsets. One on the CPU gives the same offsets whatever the device of ``inputs``.
    padding : int
        Pixels added to each side; 0 leaves the images in place.
    horizontal_flip : bool, default True
        Whether to mirror images, each with probability one half.

    Returns
    -------
    torch.Tensor
        New images of the same shape and dtype.
    """
    samples, channels, height, width = inputs.shape
    draw_on, device = generator.device, inputs.device
    offsets = torch.randint(0, 2 * padding + 1, (2, samples, 1), generator=generator, device=draw_on).to(
        device
    )
    rows = offsets[0] + torch.arange(height, device=device)
    columns = torch.arange(width, device=device).expand(samples, width)
    if horizontal_flip:
        mirrored = torch.randint(0, 2, (samples, 1), generator=generator, device=draw_on).to(device)
        columns = torch.where(mirrored.bool(), width - 1 - columns, columns)
    columns = columns + offsets[1]
    # One gather does crop and flip: the pixels' places in the flattened padded image, per sample.
    padded = functional.pad(inputs, (padding, padding, padding, padding))
    places = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    places = places.view(samples, 1, height * width).expand(samples, channels, height * width)
    return padded.reshape(samples, channels, -1).gather(2, places).view(inputs.shape)
