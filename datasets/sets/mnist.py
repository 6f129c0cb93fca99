"""MNIST: 60,000 + 10,000 grey 28x28 digits."""

from pathlib import Path

from datasets.dataset import Dataset
from datasets.images.from_torchvision import grey_split, open_set
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import DIGIT_NAMES, Source
from datasets.request import Request


def load(request: Request) -> Dataset:
    """Load the images below ``request.root``."""
    return load_images(request, Source(_read, ("MNIST/raw",)))


def _read(root: Path, download: bool) -> RawDataset:
    train, test = (open_set("MNIST", root, download, train=flag) for flag in (True, False))
    return RawDataset(grey_split(train), grey_split(test), DIGIT_NAMES)
