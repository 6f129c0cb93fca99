"""CIFAR-100 (Krizhevsky 2009) with its 100 fine labels."""

from pathlib import Path

from datasets.dataset import Dataset
from datasets.images.from_torchvision import colour_split, open_set
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.request import Request


def load(request: Request) -> Dataset:
    """Load the images below ``request.root``."""
    return load_images(request, Source(_read, ("cifar-100-python",)))


def _read(root: Path, download: bool) -> RawDataset:
    train, test = (open_set("CIFAR100", root, download, train=flag) for flag in (True, False))
    return RawDataset(colour_split(train), colour_split(test), tuple(train.classes))
