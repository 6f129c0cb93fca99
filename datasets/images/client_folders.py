"""Images in one folder per client, such as FEMNIST's by writer, a hospital's or a camera's."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from common.errors import UserError
from datasets.client_data.natural import by_size
from datasets.images.files import ENDINGS, class_folders, image_files, printable
from datasets.images.image_folder import decoded_files
from datasets.images.raw import RawDataset, RawSplit

# Which of the two folder levels above an image names the client.
ClientFolders = Literal["none", "outer", "inner"]

_Image = tuple[Path, str, str]  # its file, class and client


def read_client_folders(root: Path, test_folder: str, place: ClientFolders) -> RawDataset:
    """List ``root/<part>/<client>/<class>/**``, or for ``inner`` ``root/<part>/<class>/<client>/**``.

    Parameters
    ----------
    root : Path
        The folder.
    test_folder : str
        The folder of the test images below `root`; empty: there are none.
    place : str
        ``outer`` or ``inner``.

    Raises
    ------
    UserError
        If there is no image, or the test set has a class or a client that the training set lacks.
    """
    train = list(_images(root / "train", place))
    test = list(_images(root / test_folder, place)) if test_folder else []
    for folder, found in (("train", train), (test_folder, test)):
        if folder and not found:
            layout = "<client>/<class>" if place == "outer" else "<class>/<client>"
            raise UserError(
                f"dataset.client-folders = '{place}': no images in {root / folder}/{layout}, with names that"
                f" end in {', '.join(ENDINGS)}"
            )
    classes = sorted({label for _, label, _ in train})
    clients = by_size(Counter(client for *_, client in train))
    for kind, known, index in (("class", classes, 1), ("client", clients, 2)):
        if strangers := {str(image[index]) for image in test} - set(known):
            raise UserError(
                f"{root / test_folder}: {kind} {min(strangers)!r} has no image in {root / 'train'}"
            )
    return RawDataset(
        _raw(train, classes, clients),
        _raw(test, classes, clients),
        tuple(map(printable, classes)),
        tuple(map(printable, clients)),
    )


def _images(folder: Path, place: ClientFolders) -> Iterator[_Image]:
    for outer in class_folders(folder):
        for inner in class_folders(folder / outer):
            label, client = (inner, outer) if place == "outer" else (outer, inner)
            for path in image_files(folder / outer / inner):
                yield path, label, client


def _raw(images: list[_Image], classes: list[str], clients: tuple[str, ...]) -> RawSplit:
    number_of_class = {name: index for index, name in enumerate(classes)}
    number_of_client = {name: index for index, name in enumerate(clients)}
    targets = np.array([number_of_class[label] for _, label, _ in images], dtype=np.int64)
    owners = np.array([number_of_client[client] for *_, client in images], dtype=np.int64)
    return RawSplit(decoded_files([path for path, *_ in images]), targets, owners)
