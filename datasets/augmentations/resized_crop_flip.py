"""Random parts of images, enlarged."""

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
    """Enlarge a random part of every image to the whole, and mirror half of them.

    The usual augmentation for ImageNet (Szegedy et al. 2015, section 6): a part has a share of the area that
    is uniform from `smallest_area` to 1 and an aspect ratio that is log-uniform from 1 / `largest_ratio` to
    it. Sides longer than the image's are cut to it, where torchvision draws again. Interpolation is bilinear.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Source of the parts; as in `crop_flip.augment`.
    smallest_area, largest_ratio : float, default 0.08 and 4 / 3
        Smallest share of the area, and largest ratio of the sides.

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
    # In the coordinates of the grid an image goes from -1 to 1.
    places = torch.zeros(samples, 2, 3, device=inputs.device)
    places[:, 0, 0] = torch.where(draws[4] < 0.5, -width, width)
    places[:, 1, 1] = height
    places[:, 0, 2], places[:, 1, 2] = (1 - width) * (2 * draws[2] - 1), (1 - height) * (2 * draws[3] - 1)
    grid = functional.affine_grid(places, list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs.to(torch.float32), grid, padding_mode="border", align_corners=False)
