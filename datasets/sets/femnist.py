"""FEMNIST of LEAF (Caldas et al. 2018): 28x28 grey characters of 62 classes; each writer is a client."""

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets.dataset import Dataset
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.leaf.files import PARTS, User, leaf_root
from datasets.leaf.images import read_images
from datasets.request import Request

_SIDE = 28
_CLASSES = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)


def load(request: Request) -> Dataset:
    """Load LEAF's JSON files below ``request.root``, the first time; later from the cache."""
    root = leaf_root(request.root, request.name, "femnist")
    return load_images(replace(request, root=root), Source(_read, PARTS, downloadable=False))


def _read(root: Path, download: bool) -> RawDataset:
    return read_images(root, "femnist", _CLASSES, lambda user: [_pixels(user)])


def _pixels(user: User) -> npt.NDArray[np.uint8]:
    """Return a user's images; LEAF divides their bytes by 255, which is undone exactly."""
    try:
        values = np.array(user.x, dtype=np.float64)
    except (ValueError, TypeError):  # rows of different lengths, or no numbers
        values = np.empty(0)
    if values.shape != (len(user.x), _SIDE * _SIDE):
        raise user.error(f"each of 'x' must be a list of {_SIDE * _SIDE} numbers, an image of 28x28 pixels")
    if not (values.min() >= 0 and values.max() <= 1):
        raise user.error("'x' has a pixel that is not a number from 0 to 1")
    return np.rint(values * 255).astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE)
