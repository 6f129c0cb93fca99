"""CINIC-10 (Darlow et al. 2018): 90,000 + 90,000 images 32x32; those in ``valid`` are left alone."""

from pathlib import Path

from common.errors import UserError
from datasets.dataset import Dataset
from datasets.images.image_folder import read_image_folder
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset
from datasets.images.sources import Source
from datasets.request import Request

_FOLDER = "CINIC-10"
_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_STATISTICS = ((0.47889522, 0.47227842, 0.43047404), (0.24205776, 0.23828046, 0.25874835))


def load(request: Request) -> Dataset:
    """Load the images below ``request.root / "CINIC-10"``."""
    paths = (f"{_FOLDER}/train", f"{_FOLDER}/test")
    return load_images(request, Source(_read, paths, downloadable=False, statistics=_STATISTICS))


def _read(root: Path, download: bool) -> RawDataset:
    data = read_image_folder(root / _FOLDER)
    if data.class_names != _CLASSES:
        wrong = sorted(set(data.class_names) ^ set(_CLASSES))
        raise UserError(
            f"{root / _FOLDER / 'train'} is not CINIC-10's: it has the ten classes of CIFAR-10, and"
            f" '{wrong[0]}' is one too many or missing; folders of other classes are an 'image-folder'"
        )
    return data
