"""Cutout, applied after normalisation."""

import torch

from common.errors import UserError


def cutout(inputs: torch.Tensor, generator: torch.Generator, side: int) -> torch.Tensor:
    """Set a square of every image to zero (DeVries and Taylor 2017).

    Its centre (y, x) is uniform over the image; rows y - side // 2 to y - side // 2 + side - 1 and the
    same columns about x, clipped to the image, become 0.

    Parameters
    ----------
    inputs : torch.Tensor
        ``(samples, channels, height, width)``, normalised: zero is the mean.
    generator : torch.Generator
        Draws the centres; as in `crop_flip.augment`.
    side : int
        Side of the square in pixels.

    Returns
    -------
    torch.Tensor
        New images.

    Raises
    ------
    UserError
        If the square covers the whole image wherever its centre is.
    """
    samples, _, height, width = inputs.shape
    if side >= 2 * max(height, width):
        raise UserError(
            f"augmentation.cutout = {side} hides images of {height}x{width} pixels as a whole: take a number"
            " below their side"
        )
    hidden = []
    for length in (height, width):
        centre = torch.randint(0, length, (samples, 1), generator=generator, device=generator.device)
        offset = torch.arange(length, device=inputs.device) - centre.to(inputs.device) + side // 2
        hidden.append((offset >= 0) & (offset < side))
    return inputs.masked_fill((hidden[0][:, :, None] & hidden[1][:, None, :])[:, None], 0)
