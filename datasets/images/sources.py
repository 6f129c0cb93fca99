"""The source of a data set's images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.images.raw import RawDataset

Reader = Callable[[Path, bool], RawDataset]

DIGIT_NAMES = tuple("0123456789")


@dataclass(frozen=True)
class Source:
    """How to read one data set.

    Parameters
    ----------
    read : callable
        Called with the root folder and whether downloading is allowed.
    paths : tuple of str
        Files and folders below the root that ``read`` needs; none for a set that ships with a library.
    downloadable : bool
        Whether ``read`` can fetch missing files.
    statistics : tuple, optional
        Published mean and standard deviation per channel, instead of those of the training images.
    expected : str
        What should be below the root and where to get it, for the error message about missing files; empty
        for one folder per class.
    variant : str
        Distinguishes several ways to read the same files; each has its own cache entry.
    """

    read: Reader
    paths: tuple[str, ...] = ()
    downloadable: bool = True
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    expected: str = ""
    variant: str = ""
