"""Augmentation and normalisation of whole batches, on the device that holds them."""

from collections.abc import Callable, Sequence

import torch

from common.chosen import chosen_function
from common.errors import UserError, described
from common.global_generators import seeded_globally
from common.plugin_kinds import AUGMENTATION
from common.sections import AugmentationSection
from datasets.augmentations._cutout import cutout
from datasets.dataset import Dataset


class Normalizer:
    """Scale uint8 pixels to [0, 1], subtract the mean and divide by the standard deviation.

    Parameters
    ----------
    mean, std : sequence of float
        Per-channel statistics on the [0, 1] scale, as in `datasets.dataset.Dataset`.
    device : torch.device or str, default "cpu"
        Device of the batches.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
    ) -> None:
        center = torch.tensor(mean, dtype=torch.float64)
        # A constant channel has standard deviation 0, by which it must not be divided.
        spread = torch.tensor([value or 1.0 for value in std], dtype=torch.float64)
        self._scale = (1 / (255 * spread)).to(device, torch.float32).view(-1, 1, 1)
        self._shift = (-center / spread).to(device, torch.float32).view(-1, 1, 1)

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return float32 images from uint8 ones, ``(..., channels, height, width)``."""
        return inputs.to(torch.float32).mul_(self._scale).add_(self._shift)


def token_ids(inputs: torch.Tensor) -> torch.Tensor:
    """Return the token ids of a text in the integer type that an embedding takes."""
    return inputs.to(torch.int32)


def make_normalizer(
    dataset: Dataset, device: torch.device | str = "cpu"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from raw to model inputs: a `Normalizer` for images; other kinds need none."""
    if dataset.kind == "images":
        return Normalizer(dataset.mean, dataset.std, device)
    return token_ids if dataset.is_text else torch.Tensor.float


def is_augmented(section: AugmentationSection) -> bool:
    """Return whether training images are augmented."""
    return section.name != "none" or section.cutout > 0


def check_augmentation(section: AugmentationSection, dataset: Dataset) -> None:
    """Augment two training images, so that errors appear before a client starts.

    Raises
    ------
    UserError
        If the augmentation fails or changes the shape.
    """
    if not is_augmented(section) or dataset.kind != "images":
        return
    images = dataset.train.inputs[:2]
    try:
        with seeded_globally(0, images.device):
            shape = augmented(
                images.clone(), make_normalizer(dataset), section, torch.Generator().manual_seed(0)
            ).shape
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"augmentation.name '{section.name}' failed: {described(error)}") from error
    if shape != images.shape:
        raise UserError(
            f"augmentation.name '{section.name}' makes images of shape {tuple(shape[1:])} out of those of"
            f" {tuple(images.shape[1:])}: it must keep the shape"
        )


def augmented(
    inputs: torch.Tensor,
    normalizer: Callable[[torch.Tensor], torch.Tensor],
    section: AugmentationSection,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return training images: ``augmentation.name``, normalisation, then ``augmentation.cutout``."""
    inputs = normalizer(chosen_function(AUGMENTATION, section)(inputs, generator))
    return cutout(inputs, generator, section.cutout) if section.cutout > 0 else inputs
