"""Tiny-ImageNet: 100,000 + 10,000 colour 64x64 images of 200 classes; ``val`` is the test set."""

from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import read_text
from datasets.dataset import Dataset
from datasets.images.files import class_folders, image_files
from datasets.images.image_folder import decoded_files
from datasets.images.loading import load_images
from datasets.images.raw import RawDataset, RawSplit
from datasets.images.sources import Source
from datasets.request import Request

_FOLDER = "tiny-imagenet-200"
_ANNOTATIONS = "val/val_annotations.txt"


def load(request: Request) -> Dataset:
    """Load the images below ``request.root / "tiny-imagenet-200"``, or below the root itself."""
    has_folder = (request.root / _FOLDER).is_dir()
    prefix = f"{_FOLDER}/" if has_folder or not (request.root / "train").is_dir() else ""
    folder = request.root / prefix
    source = Source(
        lambda root, download: _read(folder),
        (f"{prefix}train", f"{prefix}val", f"{prefix}{_ANNOTATIONS}"),
        downloadable=False,
        expected=(
            f"{folder}/train/<wnid>/images/*, {folder}/val/images/* and {folder}/{_ANNOTATIONS}, as"
            " http://cs231n.stanford.edu/tiny-imagenet-200.zip has them"
        ),
    )
    return load_images(request, source)


def _read(root: Path) -> RawDataset:
    ids = class_folders(root / "train")
    files = [image_files(root / "train" / name) for name in ids]
    for name, found in zip(ids, files, strict=True):
        if not found:
            raise UserError(f"{root / 'train' / name} has no images")
    if not ids:
        raise UserError(f"{root / 'train'} has no folders of classes")
    targets = np.repeat(np.arange(len(ids), dtype=np.int64), list(map(len, files)))
    train = RawSplit(decoded_files([path for found in files for path in found]), targets)
    return RawDataset(train, _validation(root, ids), _names(root, ids))


def _validation(root: Path, ids: list[str]) -> RawSplit:
    """Read ``val_annotations.txt``: a line with a file's name, its class and a box."""
    number = {name: index for index, name in enumerate(ids)}
    paths: list[Path] = []
    targets: list[int] = []
    for line, text in enumerate(read_text(root / _ANNOTATIONS).splitlines(), start=1):
        if not text.strip():
            continue
        fields = text.split("\t")
        if len(fields) < 2 or fields[1] not in number:
            raise UserError(
                f"{root / _ANNOTATIONS}, line {line}: expected the name of an image and a class of"
                f" {root / 'train'}, separated by a tab, not {text!r}"
            )
        path = root / "val" / "images" / fields[0]
        if Path(fields[0]).name != fields[0] or not path.is_file():
            raise UserError(f"{root / _ANNOTATIONS}, line {line}: there is no image {path}")
        paths.append(path)
        targets.append(number[fields[1]])
    if not paths:
        raise UserError(f"{root / _ANNOTATIONS} names no images")
    return RawSplit(decoded_files(paths), np.array(targets, dtype=np.int64))


def _names(root: Path, ids: list[str]) -> tuple[str, ...]:
    """Return the classes' names in ``words.txt``, up to the first comma."""
    path = root / "words.txt"
    if not path.exists():
        return tuple(ids)
    pairs = (line.partition("\t") for line in read_text(path).splitlines())
    words = {name: text.partition(",")[0].strip() for name, _, text in pairs}
    names = [words.get(name) or name for name in ids]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({key})" for name, key in zip(names, ids, strict=True)
    )
