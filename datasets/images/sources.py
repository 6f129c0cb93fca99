"""Where the images of a data set come from."""

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
        Files and folders below the root that it reads; none for a set that ships with a library.
    downloadable : bool
        Whether ``read`` can fetch missing files.
    statistics : tuple, optional
        Published mean and standard deviation per channel, instead of those of the training images.
    expected : str
        What should be below the root and where it comes from, for the message that it is missing, where that
        is not a folder per class.
    variant : str
        Which of several ways to read the same files it is; each has an entry of its own in the cache.
    """

    read: Reader
    paths: tuple[str, ...] = ()
    downloadable: bool = True
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    expected: str = ""
    variant: str = ""
