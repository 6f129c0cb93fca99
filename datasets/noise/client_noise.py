"""Feature skew: Gaussian noise on each client's images, of a strength that differs between clients.

As in the code of NIID-Bench (Li et al., ICDE 2022): the standard deviation grows with the client id from
0 to sigma, on pixels scaled to [0, 1], without clipping. (Their paper has a variance of sigma i / K.)
"""

import functools
from collections.abc import Callable, Sequence

import torch

from common.errors import UserError
from datasets.dataset import Dataset

_IMAGES_PER_STEP = 1000  # bounds the temporaries


@functools.lru_cache(maxsize=1)
def noise_levels(sigma: float, num_clients: int) -> torch.Tensor:
    """Return each client's standard deviation sigma i / (K - 1): float64, shape (clients,).

    The tensor is cached and shared: do not write to it.
    """
    return sigma * torch.arange(num_clients, dtype=torch.float64) / max(1, num_clients - 1)


def check_noise(dataset: Dataset, sigma: float) -> None:
    """Refuse noise on inputs that are not images.

    Raises
    ------
    UserError
        If `sigma` is not 0 and the inputs are not images.
    """
    if sigma > 0 and dataset.kind != "images":
        raise UserError(
            f"dataset.client-noise is noise on pixels, and dataset '{dataset.name}' has none: set it to 0"
        )


class NoisyNormalizer:
    """Wraps a normalizer and adds fresh noise at every call.

    Parameters
    ----------
    normalizer : callable
        Scales to [0, 1] and normalises.
    std : sequence of float
        Per-channel standard deviation of `normalizer`, by which the noise is divided, too.
    levels : torch.Tensor
        Standard deviations of the noise on the scale of [0, 1], shape (levels,): image j of a call gets
        level j mod levels.
    generator : torch.Generator
        Draws the noise. On the CPU it gives the same noise whatever the device of the images.
    """

    def __init__(
        self,
        normalizer: Callable[[torch.Tensor], torch.Tensor],
        std: Sequence[float],
        levels: torch.Tensor,
        generator: torch.Generator,
    ) -> None:
        self._normalizer = normalizer
        self._generator = generator
        spread = torch.tensor([value or 1.0 for value in std], dtype=torch.float64)
        self._scales = (levels.double().view(-1, 1) / spread).float()[:, :, None, None]

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 images from uint8 ones, (samples, channels, height, width)."""
        normalized = self._normalizer(inputs)
        scales = self._scales.to(normalized.device)
        if len(scales) > 1:
            scales = scales[torch.arange(len(inputs), device=scales.device) % len(scales)]
        noise = torch.randn(normalized.shape, generator=self._generator, device=self._generator.device)
        return normalized.add_(noise.to(normalized.device).mul_(scales))


def noisy_images(normalizer: NoisyNormalizer, inputs: torch.Tensor, num_levels: int) -> torch.Tensor:
    """Return all of `inputs` normalised and noisy, float32: image j with level j mod `num_levels`."""
    step = num_levels * -(-_IMAGES_PER_STEP // num_levels)  # so that each part begins with level 0
    return torch.cat([normalizer(part) for part in torch.split(inputs, step)])
