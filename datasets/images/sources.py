"""Where data sets come from: one function per source, registered under its name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.errors import UserError, unknown_name
from datasets.dataset import Dataset
from datasets.images.digits import read_digits
from datasets.images.image_folder import read_image_folder
from datasets.images.raw import RawDataset, RawSplit
from datasets.shakespeare import load_shakespeare
from datasets.stratified import stratified_hold_out

Reader = Callable[[Path, bool], RawDataset]

_DIGIT_NAMES = tuple("0123456789")
_DIGITS_TEST_SAMPLES = 360
_CINIC = "CINIC-10"
_CINIC_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


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
        Published mean and standard deviation per channel, in place of those of the training images.
    """

    read: Reader
    paths: tuple[str, ...] = ()
    downloadable: bool = True
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None


_SOURCES: dict[str, Source] = {}

# Data sets of text make their splits themselves, by client. A loader is called with a `TextRequest`; its
# keyword parameters, with their annotations and defaults, are what ``dataset.<parameter>`` may set.
_TEXTS: dict[str, Callable[..., Dataset]] = {"shakespeare": load_shakespeare}


def source(
    name: str,
    *paths: str,
    downloadable: bool = True,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Callable[[Reader], Reader]:
    """Register the decorated reader under ``name``; see `Source` for the rest."""

    def register(read: Reader) -> Reader:
        _SOURCES[name] = Source(read, paths, downloadable, statistics)
        return read

    return register


def available_datasets() -> list[str]:
    """Return the names that `load_dataset` knows."""
    return sorted([*_SOURCES, *_TEXTS])


def find_text_loader(name: str) -> Callable[..., Dataset] | None:
    """Return what loads the data set of text of this name; None if there is none."""
    return _TEXTS.get(name)


def find_source(name: str) -> Source:
    """Return the source registered under ``name``; an unknown name is a `UserError`."""
    if name not in _SOURCES:
        raise unknown_name("dataset.name", name, available_datasets())
    return _SOURCES[name]


@source("digits")
def digits(root: Path, download: bool) -> RawDataset:
    """Read scikit-learn's 1797 8x8 digits, split 1437 / 360 the same way whatever the run's seed."""
    intensities, targets = read_digits()
    images = np.rint(intensities[:, None] * (255 / 16)).astype(np.uint8)
    train, test = stratified_hold_out(targets, _DIGITS_TEST_SAMPLES, np.random.default_rng(0))
    return RawDataset(
        RawSplit([images[train]], targets[train]), RawSplit([images[test]], targets[test]), _DIGIT_NAMES
    )


@source("mnist", "MNIST/raw")
def mnist(root: Path, download: bool) -> RawDataset:
    """Read MNIST: 60,000 + 10,000 grey 28x28 digits."""
    train, test = (_open("MNIST", root, download, train=flag) for flag in (True, False))
    return RawDataset(_grey(train), _grey(test), _DIGIT_NAMES)


@source("fashion-mnist", "FashionMNIST/raw")
def fashion_mnist(root: Path, download: bool) -> RawDataset:
    """Read Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey 28x28 articles."""
    train, test = (_open("FashionMNIST", root, download, train=flag) for flag in (True, False))
    return RawDataset(_grey(train), _grey(test), tuple(train.classes))


@source("cifar10", "cifar-10-batches-py")
def cifar10(root: Path, download: bool) -> RawDataset:
    """Read CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 colour 32x32 images."""
    train, test = (_open("CIFAR10", root, download, train=flag) for flag in (True, False))
    return RawDataset(_colour(train), _colour(test), tuple(train.classes))


@source("cifar100", "cifar-100-python")
def cifar100(root: Path, download: bool) -> RawDataset:
    """Read CIFAR-100 (Krizhevsky 2009) with its 100 fine labels."""
    train, test = (_open("CIFAR100", root, download, train=flag) for flag in (True, False))
    return RawDataset(_colour(train), _colour(test), tuple(train.classes))


@source("svhn", "train_32x32.mat", "test_32x32.mat")
def svhn(root: Path, download: bool) -> RawDataset:
    """Read SVHN (Netzer et al. 2011), cropped digits, without the ``extra`` images."""
    train, test = (_open("SVHN", root, download, split=name) for name in ("train", "test"))
    return RawDataset(
        RawSplit([train.data], _labels(train.labels)),
        RawSplit([test.data], _labels(test.labels)),
        _DIGIT_NAMES,
    )


@source(
    "cinic10",
    *(f"{_CINIC}/{split}" for split in ("train", "test")),
    downloadable=False,
    statistics=((0.47889522, 0.47227842, 0.43047404), (0.24205776, 0.23828046, 0.25874835)),
)
def cinic10(root: Path, download: bool) -> RawDataset:
    """Read CINIC-10 (Darlow et al. 2018): 90,000 + 90,000 images 32x32; those in ``valid`` are left alone."""
    data = read_image_folder(root / _CINIC)
    if data.class_names != _CINIC_CLASSES:
        wrong = sorted(set(data.class_names) ^ set(_CINIC_CLASSES))
        raise UserError(
            f"{root / _CINIC / 'train'} is not CINIC-10's: it has the ten classes of CIFAR-10, and"
            f" '{wrong[0]}' is one too many or missing; folders of other classes are an 'image-folder'"
        )
    return data


@source("image-folder", "train", "test", downloadable=False)
def image_folder(root: Path, download: bool) -> RawDataset:
    """Read ``root/{train,test}/<class>/*``."""
    return read_image_folder(root)


def _open(class_name: str, root: Path, download: bool, **split: bool | str) -> Any:
    """Open a torchvision data set, which checks (and with ``download`` fetches) its files."""
    # Imported here: it takes seconds, and a cached data set does without.
    from torchvision import datasets as torchvision_datasets

    try:
        return getattr(torchvision_datasets, class_name)(root, download=download, **split)
    # torchvision raises all of these for files that are missing, cut short or cannot be fetched.
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = (
            "check the connection, or put the files there by hand"
            if download
            else "delete the damaged files and allow the download with --set dataset.download=true"
        )
        raise UserError(f"cannot read {class_name} in {root} ({reason}): {advice}") from error


def _grey(dataset: Any) -> RawSplit:
    return RawSplit([dataset.data.numpy()[:, None]], _labels(dataset.targets))


def _colour(dataset: Any) -> RawSplit:
    return RawSplit([dataset.data.transpose(0, 3, 1, 2)], _labels(dataset.targets))


def _labels(targets: Any) -> npt.NDArray[np.int64]:
    return np.asarray(targets, dtype=np.int64)
