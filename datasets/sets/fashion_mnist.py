"""Fashion-MNIST (Xiao et al. 2017): 60,000 + 10,000 grey 28x28 articles."""

from pathlib import Path

from datasets.dataset import Dataset
from datasets.images.from_torchvision import grey_split, open_set
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.request import Request


def load(request: Request) -> Dataset:
    """Load the images below ``request.root``."""
    return load_images(request, Source(_read, ("FashionMNIST/raw",)))


def _read(root: Path, download: bool) -> RawDataset:
    train, test = (open_set("FashionMNIST", root, download, train=flag) for flag in (True, False))
    return RawDataset(grey_split(train), grey_split(test), tuple(train.classes))
