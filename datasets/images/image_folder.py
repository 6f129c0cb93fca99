"""Images in one folder per class: the layout of CINIC-10, Tiny-ImageNet and most home-made sets."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.errors import UserError
from datasets.images.raw import RawDataset, RawSplit

_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def read_image_folder(root: Path) -> RawDataset:
    """List ``root/{train,test}/<class>/**``; the images are decoded when their chunks are asked for.

    Labels number the training classes in sorted order of their folder names.

    Raises
    ------
    UserError
        If a class folder of the training set is empty, or the test set has other classes.
    """
    class_names = tuple(sorted(entry.name for entry in os.scandir(root / "train") if entry.is_dir()))
    strangers = {entry.name for entry in os.scandir(root / "test") if entry.is_dir()} - set(class_names)
    if strangers:
        raise UserError(f"{root / 'test'}: class {min(strangers)!r} has no folder in {root / 'train'}")
    train = [_image_files(root / "train" / name) for name in class_names]
    test = [_image_files(root / "test" / name) for name in class_names]
    for name, files in zip(class_names, train, strict=True):
        if not files:
            raise UserError(f"{root / 'train' / name}: no image files in it")
    if not any(train) or not any(test):
        raise UserError(f"no images: expected {root}/train/<class>/* and {root}/test/<class>/*")
    return RawDataset(_raw_split(train), _raw_split(test), class_names)


def decode_image(path: Path) -> npt.NDArray[np.uint8]:
    """Return the RGB pixels of one image file, ``(3, height, width)``."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    # Pillow's decoders do not agree on what a broken file raises.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot decode the image {path}: {error}") from error
    return pixels.transpose(2, 0, 1)


def _image_files(folder: Path) -> list[Path]:
    # Recursive, since Tiny-ImageNet keeps its images in <class>/images/.
    found = (
        Path(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(name).suffix.lower() in _EXTENSIONS
    )
    return sorted(found)


def _raw_split(files_of_class: Sequence[Sequence[Path]]) -> RawSplit:
    counts = [len(files) for files in files_of_class]
    targets = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return RawSplit(decoded_files([path for files in files_of_class for path in files]), targets)


def decoded_files(files: Sequence[Path]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of image files one by one, each ``(1, 3, height, width)``."""
    for path in files:
        yield decode_image(path)[None]
