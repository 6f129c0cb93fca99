"""Image files named by lists, with their labels and, optionally, the users they come from.

The layout of ImageNet-LT (Liu et al., CVPR 2019), with a column for iNaturalist's federated splits by user
(Hsu et al., ECCV 2020): one file per split, a line ``path label`` or ``path label user`` per image, separated
by spaces or commas.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.files import read_text
from datasets.images.image_folder import decoded_files
from datasets.images.raw import RawDataset, RawSplit

IndexArray = npt.NDArray[np.int64]

_LABEL = re.compile("[0-9]{1,9}")


@dataclass(frozen=True, eq=False)
class ImageList:
    """The images of one split, in the order of its file.

    Attributes
    ----------
    paths : tuple of str
        Files below the root.
    targets : numpy.ndarray
        int64, (images,): labels.
    users : tuple of str
        The user of each image; empty if the list has no such column.
    """

    paths: tuple[str, ...]
    targets: IndexArray
    users: tuple[str, ...]

    def subset(self, chosen: IndexArray) -> "ImageList":
        """Return some of the images, in the order of the indices."""
        users = tuple(self.users[index] for index in chosen) if self.users else ()
        return ImageList(tuple(self.paths[index] for index in chosen), self.targets[chosen], users)


def read_image_list(file: Path, key: str) -> ImageList:
    """Read the list of a split; `key` is the configuration key that names it.

    Empty lines and lines that begin with ``#`` are ignored.

    Raises
    ------
    UserError
        If the file is missing or a line is malformed.
    """
    rows: list[list[str]] = []
    for number, line in enumerate(read_text(file, key).splitlines(), start=1):
        fields = [part.strip() for part in line.split(",")] if "," in line else line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) not in (2, 3) or not _LABEL.fullmatch(fields[1]):
            raise UserError(
                f"{file}, line {number}: expected a path, a label from 0 and perhaps a user, not '{line}'"
            )
        if rows and len(fields) != len(rows[0]):
            raise UserError(f"{file}, line {number}: a user in some lines and none in others")
        rows.append(fields)
    if not rows:
        raise UserError(f"{file} names no images")
    paths, labels, *users = zip(*rows, strict=True)
    return ImageList(paths, np.array(labels, dtype=np.int64), users[0] if users else ())


@dataclass(frozen=True, eq=False)
class ImageLists:
    """The lists of both splits.

    Attributes
    ----------
    train, test : ImageList
        Both with the same classes, and with the same users if both name users.
    client_names : tuple of str
        The users of the training images, by descending number of images; empty if it names none.
    """

    train: ImageList
    test: ImageList
    client_names: tuple[str, ...]

    def keep_largest(self, num_users: int) -> "ImageLists":
        """Keep the users with the most training images, by name on a tie, and test lists without users.

        Raises
        ------
        UserError
            If there are fewer users.
        """
        if num_users > len(self.client_names):
            raise UserError(
                f"clients.count is {num_users}, and dataset.list-file has {len(self.client_names)} users:"
                " lower it"
            )
        kept = self.client_names[:num_users]
        train, test = (
            images.subset(np.flatnonzero(np.isin(images.users, kept))) if images.users else images
            for images in (self.train, self.test)
        )
        return ImageLists(train, test, kept)

    def client_ids(self, images: ImageList) -> IndexArray | None:
        """Return each image's index into ``client_names``; None if the list names no users."""
        if not images.users:
            return None
        number = {name: index for index, name in enumerate(self.client_names)}
        return np.array([number[user] for user in images.users], dtype=np.int64)

    def raw(self, root: Path) -> RawDataset:
        """Return the images below `root`, which are decoded lazily, chunk by chunk.

        Raises
        ------
        UserError
            If an image is missing, or a class below the largest label has no training image.
        """
        for path in (*self.train.paths, *self.test.paths):
            if not (root / path).is_file():
                raise UserError(f"dataset.list-file names the image {root / path}, which is missing")
        num_classes = int(max(self.train.targets.max(), self.test.targets.max(initial=0))) + 1
        present = np.unique(self.train.targets)
        if len(present) < num_classes:
            missing = np.flatnonzero(present != np.arange(len(present)))
            label = missing[0] if len(missing) else len(present)
            raise UserError(
                f"class {label} of {num_classes} has no training image in dataset.list-file: number the"
                " classes from 0 without gaps, and keep enough clients"
            )
        return RawDataset(_raw(root, self.train), _raw(root, self.test), tuple(map(str, range(num_classes))))


def read_image_lists(train_file: Path, test_file: Path | None) -> ImageLists:
    """Read the lists of both splits; without a test list there are no test images.

    Raises
    ------
    UserError
        If a list is missing or malformed, or the test list has users whom the training list lacks.
    """
    train = read_image_list(train_file, "dataset.list-file")
    test = ImageList((), np.empty(0, dtype=np.int64), ())
    if test_file:
        test = read_image_list(test_file, "dataset.test-list-file")
    names, counts = np.unique(train.users, return_counts=True)
    client_names = tuple(map(str, names[np.argsort(-counts, kind="stable")]))
    if test.users and (strangers := set(test.users) - set(client_names)):
        raise UserError(f"{test_file}: user {min(strangers)!r} has no image in {train_file}")
    return ImageLists(train, test, client_names)


def _raw(root: Path, images: ImageList) -> RawSplit:
    return RawSplit(decoded_files([root / path for path in images.paths]), images.targets)
