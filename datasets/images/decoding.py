"""Decode raw splits to arrays of one image size, and compute the pixel statistics in the same pass."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from common.errors import UserError
from datasets.images.raw import RawDataset, RawSplit

Images = npt.NDArray[np.uint8]
Allocate = Callable[[str, tuple[int, ...]], Images]

# Bounds the temporaries: counting pixels widens them eightfold.
_IMAGES_PER_STEP = 512


@dataclass(frozen=True, eq=False)
class DecodedDataset:
    """Arrays of both splits, and the training images' per-channel statistics on [0, 1].

    ``remarks`` are notes for the user on how they were read. The clients of the samples, int64, are indices
    into ``client_names``; None for a split without clients.
    """

    train_inputs: Images
    train_targets: npt.NDArray[np.int64]
    test_inputs: Images
    test_targets: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    remarks: tuple[str, ...] = ()
    train_clients: npt.NDArray[np.int64] | None = None
    test_clients: npt.NDArray[np.int64] | None = None
    client_names: tuple[str, ...] = ()


def allocate_in_memory(name: str, shape: tuple[int, ...]) -> Images:
    """Return an uninitialised array; the name matters to file-backed allocators only."""
    return np.empty(shape, dtype=np.uint8)


def decode(raw: RawDataset, image_size: int, allocate: Allocate = allocate_in_memory) -> DecodedDataset:
    """Decode both splits into arrays that ``allocate`` provides.

    Parameters
    ----------
    raw : RawDataset
        The splits as the source found them.
    image_size : int
        Side of the square output images (shorter side resized, then centre crop); 0 keeps the size.
    allocate : callable, optional
        Called with ``"train_inputs"`` or ``"test_inputs"`` and a shape.

    Raises
    ------
    UserError
        If an image cannot be decoded, or if ``image_size`` is 0 and the images differ in size.
    """
    for name, split in (("training", raw.train), ("test", raw.test)):
        labels = split.targets
        if labels.size and not 0 <= labels.min() <= labels.max() < len(raw.class_names):
            raise UserError(f"the {name} labels go beyond the {len(raw.class_names)} classes: damaged data?")
    train_inputs, histogram = _decode_split("train_inputs", raw.train, image_size, allocate)
    if len(raw.test.targets):
        test_inputs, _ = _decode_split("test_inputs", raw.test, image_size, allocate)
    else:
        test_inputs = allocate("test_inputs", (0, *train_inputs.shape[1:]))
    if train_inputs.shape[1:] != test_inputs.shape[1:]:
        raise _differing_sizes(train_inputs.shape, test_inputs.shape)
    mean, std = _statistics(histogram)
    return DecodedDataset(
        train_inputs,
        raw.train.targets,
        test_inputs,
        raw.test.targets,
        raw.class_names,
        mean,
        std,
        train_clients=raw.train.clients,
        test_clients=raw.test.clients,
        client_names=raw.client_names,
    )


def _decode_split(
    name: str, split: RawSplit, image_size: int, allocate: Allocate
) -> tuple[Images, npt.NDArray[np.int64]]:
    inputs: Images | None = None
    histogram = np.zeros((0, 256), dtype=np.int64)
    done = 0
    for chunk in split.chunks:
        for start in range(0, len(chunk), _IMAGES_PER_STEP):
            images = fit(chunk[start : start + _IMAGES_PER_STEP], image_size)
            if inputs is None:
                inputs = allocate(name, (len(split.targets), *images.shape[1:]))
                histogram = np.zeros((images.shape[1], 256), dtype=np.int64)
            elif images.shape[1:] != inputs.shape[1:]:
                raise _differing_sizes(inputs.shape, images.shape)
            if done + len(images) > len(inputs):
                raise _miscounted(name, f"{done + len(images)} or more", len(inputs))
            inputs[done : done + len(images)] = images
            _count(images, histogram)
            done += len(images)
    if inputs is None or done != len(split.targets):
        raise _miscounted(name, done, len(split.targets))
    return inputs, histogram


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the population standard deviation of each channel, on [0, 1]."""
    histogram = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), _IMAGES_PER_STEP):
        _count(images[start : start + _IMAGES_PER_STEP], histogram)
    return _statistics(histogram)


def _count(images: Images, histogram: npt.NDArray[np.int64]) -> None:
    """Add the pixels of images to each channel's histogram, (channels, 256)."""
    for channel, counts in enumerate(histogram):
        counts += np.bincount(images[:, channel].ravel(), minlength=256)


def fit(images: Images, image_size: int) -> Images:
    """Return square images of `image_size` pixels: shorter side resized, then centre crop."""
    if image_size == 0 or images.shape[2:] == (image_size, image_size):
        return images
    # Imported here: the import takes seconds, and cached images do not need it.
    from torchvision.transforms.v2 import functional as vision

    resized = vision.resize(torch.from_numpy(np.ascontiguousarray(images)), [image_size], antialias=True)
    cropped: Images = vision.center_crop(resized, [image_size]).numpy()
    return cropped


def _miscounted(name: str, num_images: int | str, num_labels: int) -> UserError:
    return UserError(f"the data are damaged: {name} has {num_images} images and {num_labels} labels")


def _differing_sizes(first: tuple[int, ...], second: tuple[int, ...]) -> UserError:
    sizes = " and ".join(f"{width}x{height}" for *_, height, width in (first, second))
    return UserError(
        f"the images differ in size ({sizes}): set dataset.image-size to the side that they should have"
    )


def _statistics(histogram: npt.NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the population standard deviation of each channel, from its exact histogram."""
    values = np.arange(256) / 255
    frequencies = histogram / histogram.sum(axis=1, keepdims=True)
    mean = frequencies @ values
    variance = np.sum(frequencies * (values - mean[:, None]) ** 2, axis=1)
    return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())
