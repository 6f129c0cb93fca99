"""Images by user."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.images.raw import RawDataset, RawSplit
from datasets.leaf.files import PARTS, User, read_users
from datasets.leaf.owners import Owners

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
        What the labels number.
    images_of : callable
        Returns the images of a user, uint8 ``(images, channels, height, width)``, in one chunk or several.

    Raises
    ------
    UserError
        If a file is not as LEAF writes them.
    """
    what = f"a class from 0 to {len(class_names) - 1}"
    chunks: dict[str, list[Chunks]] = {}
    labels: dict[str, list[int]] = {}
    counts: dict[str, dict[str, int]] = {}
    for part in PARTS:
        chunks[part], labels[part], counts[part] = [], [], {}
        for user in read_users(root, part):
            chunks[part].append(images_of(user))
            labels[part] += user.labels(lambda label: _class(label, len(class_names)), what)
            counts[part][user.name] = len(user.x)
        if not labels[part]:
            raise UserError(f"dataset '{dataset}': no user in {root / part} has a sample")
    owners = Owners.of(counts["train"], counts["test"], dataset)
    train, test = (
        RawSplit(_flat(chunks[part]), np.array(labels[part], dtype=np.int64), clients)
        for part, clients in (("train", owners.train), ("test", owners.test))
    )
    return RawDataset(train, test, class_names, owners.names)


def _class(label: object, num_classes: int) -> int | None:
    is_index = isinstance(label, int) and not isinstance(label, bool)
    return label if is_index and 0 <= label < num_classes else None  # type: ignore[operator,return-value]


def _flat(chunks: Iterable[Chunks]) -> Chunks:
    for of_user in chunks:
        yield from of_user
