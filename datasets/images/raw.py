"""What a source returns: labels in memory, images decoded lazily."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class RawSplit:
    """A split whose images are not decoded yet.

    Parameters
    ----------
    chunks : iterable of numpy.ndarray
        uint8 ``(images, channels, height, width)`` in the order of ``targets``; a large set yields small
        chunks, so that it is never in memory as a whole.
    targets : numpy.ndarray
        int64 ``(samples,)``.
    clients : numpy.ndarray, optional
        int64 ``(samples,)``: the client of each sample, if the data come from clients.
    """

    chunks: Iterable[npt.NDArray[np.uint8]]
    targets: npt.NDArray[np.int64]
    clients: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Training and test split as a source found them; the splits' clients are indices into `client_names`."""

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    client_names: tuple[str, ...] = ()
