"""Load an image data set as uint8 tensors; files are decoded only the first time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from common.errors import UserError
from datasets.client_data.natural import keep_largest
from datasets.dataset import Dataset, Split
from datasets.hold_out import hold_out
from datasets.images.cache import entry_name, open_entry
from datasets.images.decoding import DecodedDataset, channel_statistics, decode
from datasets.images.image_lists import ImageLists, read_image_lists
from datasets.images.options import ImageOptions, missing_test_folder, missing_train_folder
from datasets.images.sources import Source
from datasets.request import Normalization, Request

# Per-channel statistics on [0, 1] with which inputs of torchvision's pre-trained models are normalised.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def load_images(request: Request, source: Source, options: ImageOptions | None = None) -> Dataset:
    """Load images from a source and process them as the request asks.

    Parameters
    ----------
    request : Request
        The run's settings for the data set.
    source : Source
        Where the images are.
    options : ImageOptions, optional
        For ``image-folder``: lists of images, and where test images come from.

    Raises
    ------
    UserError
        If files are missing or damaged, or a value is impossible.
    """
    options = options or ImageOptions()
    dataset = _canonical(request, source, options)
    if options.test_fraction > 0:
        dataset = _with_test_split(dataset, options.test_fraction, request.seed)
    return finish_images(dataset, request)


def finish_images(dataset: Dataset, request: Request) -> Dataset:
    """Make the training set long-tailed, hold out samples, and choose the statistics, as requested."""
    train, validation = dataset.train, dataset.validation
    if request.long_tail:
        train = train.subset(
            request.long_tail.indices(train.targets.numpy(), dataset.num_classes, request.seed)
        )
    if request.validation_fraction > 0:
        train, validation = hold_out(
            train, request.validation_fraction, "validation-fraction", "validation", request.split_seed
        )
    mean, std = _statistics(dataset, request.normalization)
    return replace(dataset, train=train, validation=validation, mean=mean, std=std)


def _canonical(request: Request, source: Source, options: ImageOptions) -> Dataset:
    """Load the canonical splits; the test split is empty if the data set has none."""
    name, root, image_size = request.name, request.root, request.image_size
    lists = _image_lists(root, request.num_clients, options)
    if lists is None:
        decoded = _read(source, name, root, image_size, request.download)
        train_owners, test_owners = decoded.train_clients, decoded.test_clients
    else:
        decoded = _read_listed(lists, name, root, image_size, options)
        train_owners, test_owners = lists.client_ids(lists.train), lists.client_ids(lists.test)
    mean, std = source.statistics or (decoded.mean, decoded.std)
    dataset = Dataset(
        name=name,
        train=_split(decoded.train_inputs, decoded.train_targets, train_owners),
        validation=None,
        test=_split(decoded.test_inputs, decoded.test_targets, test_owners),
        num_classes=len(decoded.class_names),
        class_names=decoded.class_names,
        mean=mean,
        std=std,
        client_names=lists.client_names if lists else decoded.client_names,
        remarks=decoded.remarks,
    )
    if request.num_clients and decoded.client_names:
        return keep_largest(dataset, request.num_clients)
    return dataset


def _with_test_split(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Split the test images off the training images; the statistics are those of the remaining ones."""
    train, test = hold_out(dataset.train, fraction, "test-fraction", "test-split", seed)
    mean, std = channel_statistics(train.inputs.numpy())
    remark = f"{len(test)} of {len(dataset.train)} images are the test set (dataset.test-fraction)"
    remarks = (*dataset.remarks, remark)
    return replace(dataset, train=train, test=test, mean=mean, std=std, remarks=remarks)


def _statistics(
    dataset: Dataset, normalization: Normalization
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = len(dataset.mean)
    if normalization == "dataset":
        return dataset.mean, dataset.std
    if normalization != "imagenet":
        mean, std = (0.5, 0.5) if normalization == "half" else (0.0, 1.0)
        return (mean,) * channels, (std,) * channels
    if channels != len(IMAGENET_MEAN):
        raise UserError("dataset.normalization 'imagenet' needs colour images: set it to 'dataset'")
    return IMAGENET_MEAN, IMAGENET_STD


def _read(source: Source, name: str, root: Path, image_size: int, download: bool) -> DecodedDataset:
    if not source.paths:
        return decode(source.read(root, download), image_size)
    missing = [path for path in source.paths if not (root / path).exists()]
    if missing and not source.downloadable:
        layout = source.expected or " and ".join(f"{root / path}/<class>/*" for path in source.paths)
        advice = missing_train_folder(root)
        if missing[0] != source.paths[0]:
            advice = f": {missing_test_folder(root, missing[0])}"
        raise UserError(
            f"dataset {name!r}: expected {layout}, but {root / missing[0]} is missing"
            f"{advice if name == 'image-folder' else ''}"
        )
    if missing and not download:
        raise UserError(
            f"dataset {name!r}: {root / missing[0]} is missing; set dataset.root to the folder that has"
            f" {missing[0]}, or allow the download with --set dataset.download=true"
        )
    if missing:  # before its cache entry can be named
        raw = source.read(root, download)
        entry = entry_name(name + source.variant, image_size, root, source.paths)
        return open_entry(root, entry, lambda: raw, image_size)
    entry = entry_name(name + source.variant, image_size, root, source.paths)
    return open_entry(root, entry, lambda: source.read(root, download), image_size)


def _image_lists(root: Path, num_clients: int | None, options: ImageOptions) -> ImageLists | None:
    """Read the lists of images, if any; relative paths are below `root`."""
    if not options.list_file:
        return None
    test_file = root / options.test_list_file if options.test_list_file else None
    lists = read_image_lists(root / options.list_file, test_file)
    return lists.keep_largest(num_clients) if num_clients and lists.client_names else lists


def _read_listed(
    lists: ImageLists, name: str, root: Path, image_size: int, options: ImageOptions
) -> DecodedDataset:
    raw = lists.raw(root)
    list_files = [file for file in (options.list_file, options.test_list_file) if file]
    entry = entry_name(name, image_size, root, [*list_files, *lists.train.paths, *lists.test.paths])
    return open_entry(root, entry, lambda: raw, image_size)


def _split(
    inputs: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.int64],
    clients: npt.NDArray[np.int64] | None = None,
) -> Split:
    owners = None if clients is None else torch.from_numpy(clients)
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets), owners)
