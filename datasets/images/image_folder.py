"""Images in one folder per class: the layout of CINIC-10, Tiny-ImageNet and most home-made sets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.images.files import ENDINGS, class_folders, image_files, printable
from datasets.images.pixels import decode_image
from datasets.images.raw import RawDataset, RawSplit


def read_image_folder(root: Path, test_folder: str = "test") -> RawDataset:
    """List ``root/{train,test}/<class>/**``; images are decoded lazily, chunk by chunk.

    Labels are indices into the sorted names of the training folders. Hidden files and folders are ignored.

    Parameters
    ----------
    root : Path
        The folder.
    test_folder : str, default "test"
        The folder of the test set below `root`; empty: the test split has no images.

    Raises
    ------
    UserError
        If a class folder of the training set is empty, or the test set has other classes.
    """
    class_names = class_folders(root / "train")
    train = [image_files(root / "train" / name) for name in class_names]
    for name, files in zip(class_names, train, strict=True):
        if not files:
            raise UserError(
                f"{root / 'train' / name}: no image files in it (their names end in {', '.join(ENDINGS)})"
            )
    tested = class_folders(root / test_folder) if test_folder else []
    if strangers := set(tested) - set(class_names):
        complaint = f"class {min(strangers)!r} has no folder in {root / 'train'}"
        raise UserError(f"{root / test_folder}: {complaint}")
    test = [image_files(root / test_folder / name) if name in tested else [] for name in class_names]
    if not train or (test_folder and not any(test)):
        expected = [f"{root}/{name}/<class>/*" for name in ("train", test_folder) if name]
        raise UserError(
            f"no images: expected {' and '.join(expected)} with names that end in {', '.join(ENDINGS)}"
        )
    return RawDataset(_raw_split(train), _raw_split(test), tuple(map(printable, class_names)))


def _raw_split(files_of_class: Sequence[Sequence[Path]]) -> RawSplit:
    counts = [len(files) for files in files_of_class]
    targets = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return RawSplit(decoded_files([path for files in files_of_class for path in files]), targets)


def decoded_files(files: Sequence[Path]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the pixels of image files one by one, each ``(1, 3, height, width)``."""
    for path in files:
        yield decode_image(path)[None]
