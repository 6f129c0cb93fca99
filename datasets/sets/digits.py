"""Scikit-learn's 1797 8x8 digits, split 1437 / 360 the same way whatever the run's seed."""

from pathlib import Path

import numpy as np

from datasets.dataset import Dataset
from datasets.images.digits import read_digits
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset, RawSplit
from datasets.images.sources import DIGIT_NAMES, Source
from datasets.request import Request
from datasets.stratified import stratified_hold_out

_TEST_SAMPLES = 360


def load(request: Request) -> Dataset:
    """Load the images, which come with scikit-learn."""
    return load_images(request, Source(_read))


def _read(root: Path, download: bool) -> RawDataset:
    intensities, targets = read_digits()
    images = np.rint(intensities[:, None] * (255 / 16)).astype(np.uint8)
    train, test = stratified_hold_out(targets, _TEST_SAMPLES, np.random.default_rng(0))
    return RawDataset(
        RawSplit([images[train]], targets[train]), RawSplit([images[test]], targets[test]), DIGIT_NAMES
    )
