"""Random parts of images, enlarged."""

import math

import torch
from torch.nn import functional

_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)


def augment(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Enlarge a random part of every image to the whole, and mirror half of them.

    The usual augmentation for ImageNet (Szegedy et al. 2015, section 6): a part has a share of the area that
    is uniform from 0.08 to 1 and an aspect ratio that is log-uniform from 3 / 4 to 4 / 3. Sides longer than
    the image's are cut to it, where torchvision draws again. Interpolation is bilinear.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Source of the parts; as in `crop_flip.augment`.

    Returns
    -------
    torch.Tensor
        New float32 images of the same shape.
    """
    samples = len(inputs)
    draws = torch.rand(5, samples, generator=generator, device=generator.device).to(inputs.device)
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * draws[0]
    aspect = torch.exp(math.log(_RATIO[0]) + math.log(_RATIO[1] / _RATIO[0]) * draws[1])
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    # In the coordinates of the grid an image goes from -1 to 1.
    places = torch.zeros(samples, 2, 3, device=inputs.device)
    places[:, 0, 0] = torch.where(draws[4] < 0.5, -width, width)
    places[:, 1, 1] = height
    places[:, 0, 2], places[:, 1, 2] = (1 - width) * (2 * draws[2] - 1), (1 - height) * (2 * draws[3] - 1)
    grid = functional.affine_grid(places, list(inputs.shape), align_corners=False)
    return functional.grid_sample(inputs.to(torch.float32), grid, padding_mode="border", align_corners=False)
