"""SVHN (Netzer et al. 2011), cropped digits, without the ``extra`` images."""

from pathlib import Path

from datasets.dataset import Dataset
from datasets.images.from_torchvision import labels_of, open_set
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset, RawSplit
from datasets.images.sources import DIGIT_NAMES, Source
from datasets.request import Request


def load(request: Request) -> Dataset:
    """Load the images below ``request.root``."""
    return load_images(request, Source(_read, ("train_32x32.mat", "test_32x32.mat")))


def _read(root: Path, download: bool) -> RawDataset:
    train, test = (open_set("SVHN", root, download, split=name) for name in ("train", "test"))
    return RawDataset(
        RawSplit([train.data], labels_of(train.labels)),
        RawSplit([test.data], labels_of(test.labels)),
        DIGIT_NAMES,
    )
