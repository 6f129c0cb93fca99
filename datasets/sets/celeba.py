"""CelebA of LEAF (Caldas et al. 2018): faces that smile or not; each celebrity is a client."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.dataset import Dataset
from datasets.images.image_folder import decoded_files
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.leaf.files import PARTS, User, leaf_root
from datasets.leaf.images import read_images
from datasets.request import Request

_FOLDERS = ("raw/img_align_celeba", "img_align_celeba", "images")


def load(request: Request) -> Dataset:
    """Load the images that LEAF's JSON files below ``request.root`` name; LEAF resizes them to 84 pixels."""
    root = leaf_root(request.root, request.name, "celeba")
    folder = next((name for name in _FOLDERS if (root / name).is_dir()), "")
    if not folder:
        raise UserError(
            f"dataset 'celeba': expected the images in {root / _FOLDERS[0]} or {root / _FOLDERS[1]}, as"
            " img_align_celeba.zip of https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html has them, but both"
            " are missing"
        )

    def read(root: Path, download: bool) -> RawDataset:
        classes = ("class 0", "class 1")  # of the attribute that LEAF was given, by default Smiling
        return read_images(root, "celeba", classes, lambda user: _images(user, root / folder))

    return load_images(replace(request, root=root), Source(read, (*PARTS, folder), downloadable=False))


def _images(user: User, folder: Path) -> Iterator[npt.NDArray[np.uint8]]:
    for name in user.x:
        if not isinstance(name, str) or Path(name).name != name or not (folder / name).is_file():
            raise user.error(f"{folder} has no image {name!r}")
    return decoded_files([folder / name for name in user.x])
