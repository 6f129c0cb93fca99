"""Tiny image folders for the tests."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, width: int = 4, height: int = 4, value: int | tuple[int, int, int] = 7) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((height, width, 3), value, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_image_folder(root: Path, train: Mapping[str, int], test: Mapping[str, int]) -> None:
    """Write PNG files, n per class; their pixels tell class and number."""
    for split, counts in (("train", train), ("test", test)):
        for label, (name, count) in enumerate(counts.items()):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                write_image(root / split / name / f"{number}.png", value=(10 * label, number, 0))
