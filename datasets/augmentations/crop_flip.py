"""Random crops and horizontal flips."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional

from common.errors import UserError


def augment(
    inputs: torch.Tensor,
    generator: torch.Generator,
    *,
    padding: Annotated[int, Field(ge=0)] = 4,
    padding_mode: Literal["zeros", "reflect"] = "zeros",
    horizontal_flip: bool = True,
) -> torch.Tensor:
    """Shift every image by up to ``padding`` pixels, and mirror half of them.

    The usual CIFAR augmentation (He et al. 2016, section 4.2): pad, crop at random, flip at random. Every
    image has its own offsets.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, before normalisation.
    generator : torch.Generator
        Draws the offsets and flips. On the CPU it gives the same draws whatever the device of ``inputs``.
    padding : int, default 4
        Pixels added to each side, fewer than the image has; 0 leaves the images in place.
    padding_mode : str, default "zeros"
        What the added pixels show: ``zeros``, or ``reflect``, the image mirrored at its border pixels, as in
        the code of NIID-Bench (Li et al. 2022).
    horizontal_flip : bool, default True
        Whether to mirror images, each with probability one half.

    Returns
    -------
    torch.Tensor
        New images of the same shape and dtype.

    Raises
    ------
    UserError
        If ``padding`` is so large that an image could be shifted out of its frame.
    """
    samples, channels, height, width = inputs.shape
    if padding >= min(height, width):
        raise UserError(
            f"augmentation.padding = {padding} shifts images of {height}x{width} pixels out of sight: take a"
            " number below their shorter side"
        )
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
    if padding_mode == "reflect":
        rows, columns = _reflected(rows - padding, height), _reflected(columns - padding, width)
        padded = inputs
    else:
        padded = functional.pad(inputs, [padding] * 4)
    # One gather does both crop and flip: per sample, the indices of the pixels in the flattened padded image.
    places = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    places = places.view(samples, 1, height * width).expand(samples, channels, height * width)
    return padded.reshape(samples, channels, -1).gather(2, places).view(inputs.shape)


def _reflected(positions: torch.Tensor, length: int) -> torch.Tensor:
    """Return the pixels that positions beyond 0 or ``length - 1`` mirror, without repeating those."""
    return length - 1 - (length - 1 - positions.abs()).abs()
