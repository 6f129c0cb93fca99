"""Augmentation and normalisation of whole batches, on the device that holds them."""

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from common.sections import DatasetSection
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
    """Return the token ids of a text as the integers that an embedding takes."""
    return inputs.to(torch.int32)


def make_normalizer(
    dataset: Dataset, device: torch.device | str = "cpu"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what turns raw inputs into the model's: a `Normalizer` for images; others are ready."""
    if dataset.kind == "images":
        return Normalizer(dataset.mean, dataset.std, device)
    return token_ids if dataset.is_text else torch.Tensor.float


def is_augmented(options: DatasetSection) -> bool:
    """Tell whether training images are augmented."""
    return options.augmentation != "none" or options.cutout > 0


def augmented(
    inputs: torch.Tensor,
    normalizer: Callable[[torch.Tensor], torch.Tensor],
    options: DatasetSection,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return images as training sees them: ``dataset.augmentation``, normalised, ``dataset.cutout``."""
    if options.augmentation == "crop-flip":
        inputs = crop_flip(inputs, generator, options.crop_padding)
    elif options.augmentation == "resized-crop-flip":
        inputs = resized_crop_flip(inputs, generator)
    inputs = normalizer(inputs)
    return cutout(inputs, generator, options.cutout) if options.cutout > 0 else inputs


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


def resized_crop_flip(
    inputs: torch.Tensor,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> torch.Tensor:
    """Enlarge a random part of every image to the whole, and mirror half of them.

    The usual augmentation for ImageNet (Szegedy et al. 2015, section 6): a part has a share of the area that
    is uniform in `scale` and an aspect ratio that is log-uniform in `ratio`. Sides longer than the image's
    are cut to it, where torchvision draws again. Interpolation is bilinear.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Source of the parts; as in `crop_flip`.
    scale, ratio : tuple of float
        Smallest and largest share of the area, and aspect ratio.

    Returns
    -------
    torch.Tensor
        New float32 images of the same shape.
    """
    samples = len(inputs)
    draws = torch.rand(5, samples, generator=generator, device=generator.device).to(inputs.device)
    area = scale[0] + (scale[1] - scale[0]) * draws[0]
    aspect = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * draws[1])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    # In the coordinates of the grid an image goes from -1 to 1.
    places = torch.zeros(samples, 2, 3, device=inputs.device)
    places[:, 0, 0] = torch.where(draws[4] < 0.5, -width, width)
    places[:, 1, 1] = height
    places[:, 0, 2], places[:, 1, 2] = (1 - width) * (2 * draws[2] - 1), (1 - height) * (2 * draws[3] - 1)
    grid = functional.affine_grid(places, list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs.to(torch.float32), grid, padding_mode="border", align_corners=False)


def cutout(inputs: torch.Tensor, generator: torch.Generator, side: int) -> torch.Tensor:
    """Put zeros into a square of every image (DeVries and Taylor 2017).

    Its centre (y, x) is uniform over the image; rows y - side // 2 to y - side // 2 + side - 1 and columns
    likewise, as far as they are in the image, become 0.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, normalised: zero is the mean.
    generator : torch.Generator
        Source of the centres; as in `crop_flip`.
    side : int
        Side of the square in pixels.

    Returns
    -------
    torch.Tensor
        New images.
    """
    samples, _, height, width = inputs.shape
    hidden = []
    for length in (height, width):
        centre = torch.randint(0, length, (samples, 1), generator=generator, device=generator.device)
        offset = torch.arange(length, device=inputs.device) - centre.to(inputs.device) + side // 2
        hidden.append((offset >= 0) & (offset < side))
    return inputs.masked_fill((hidden[0][:, :, None] & hidden[1][:, None, :])[:, None], 0)
