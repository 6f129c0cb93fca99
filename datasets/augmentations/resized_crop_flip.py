"""Random resized crops and horizontal flips."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional


def augment(
    inputs: torch.Tensor,
    generator: torch.Generator,
    *,
    smallest_area: Annotated[float, Field(gt=0, le=1)] = 0.08,
    largest_ratio: Annotated[float, Field(ge=1)] = 4 / 3,
) -> torch.Tensor:
    """Enlarge a random crop of every image to full size, and mirror half of them.

    The usual augmentation for ImageNet (Szegedy et al. 2015, section 6): the crop's share of the area
    is uniform on [`smallest_area`, 1], and its aspect ratio log-uniform on [1 / `largest_ratio`,
    `largest_ratio`]. Sides longer than the image's are clipped to it, where torchvision draws again.
    Interpolation is bilinear.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Draws the crops and flips; as in `crop_flip.augment`.
    smallest_area, largest_ratio : float, default 0.08 and 4 / 3
        Smallest share of the area, and largest aspect ratio.

    Returns
    -------
    torch.Tensor
        New float32 images of the same shape.
    """
    samples, least = len(inputs), 1 / largest_ratio
    draws = torch.rand(5, samples, generator=generator, device=generator.device).to(inputs.device)
    area = smallest_area + (1 - smallest_area) * draws[0]
    aspect = torch.exp(math.log(least) + math.log(largest_ratio / least) * draws[1])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    # In grid coordinates an image extends from -1 to 1.
    places = torch.zeros(samples, 2, 3, device=inputs.device)
    places[:, 0, 0] = torch.where(draws[4] < 0.5, -width, width)
    places[:, 1, 1] = height
    places[:, 0, 2], places[:, 1, 2] = (1 - width) * (2 * draws[2] - 1), (1 - height) * (2 * draws[3] - 1)
    grid = functional.affine_grid(places, list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs.to(torch.float32), grid, padding_mode="border", align_corners=False)
