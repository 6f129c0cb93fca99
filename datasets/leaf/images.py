"""Images in LEAF's layout, by user."""

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datasets.images.raw import RawDataset, RawSplit
from datasets.leaf.files import User
from datasets.leaf.parts import read_parts

Chunks = Iterable[npt.NDArray[np.uint8]]


def read_images(
    root: Path,
    dataset: str,
    class_names: tuple[str, ...],
    images_of: Callable[[User], Chunks],
) -> RawDataset:
    """Read both parts.

    Parameters
    ----------
    root : Path
        The folder with ``train`` and ``test``.
    dataset : str
        The data set, for messages.
    class_names : tuple of str
        The classes, into which labels are indices.
    images_of : callable
        Returns the images of a user, uint8 ``(images, channels, height, width)``, in one chunk or several.

    Raises
    ------
    UserError
        If a file is not in LEAF's format.
    """
    num_classes = len(class_names)
    *parts, owners = read_parts(
        root,
        dataset,
        images_of,
        lambda label: _class(label, num_classes),
        f"a class from 0 to {num_classes - 1}",
    )
    train, test = (
        RawSplit(chain.from_iterable(part.inputs), part.labels, clients)
        for part, clients in zip(parts, (owners.train, owners.test), strict=True)
    )
    return RawDataset(train, test, class_names, owners.names)


def _class(label: object, num_classes: int) -> int | None:
    is_index = isinstance(label, int) and not isinstance(label, bool)
    return label if is_index and 0 <= label < num_classes else None  # type: ignore[operator,return-value]
