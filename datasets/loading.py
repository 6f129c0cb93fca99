"""Load a data set by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from common.errors import UserError, nearest
from common.parameters import function_parameters, parse_parameters
from common.randomness import numpy_generator
from common.sections import DatasetSection, Value
from datasets.dataset import Dataset, Split
from datasets.images.cache import entry_name, load_entry, store_entry
from datasets.images.decoding import DecodedDataset, decode
from datasets.images.image_lists import ImageLists, list_parameters, read_image_lists
from datasets.images.sources import Source, available_datasets, find_source, find_text_loader
from datasets.long_tail import LongTail
from datasets.stratified import stratified_hold_out
from datasets.text import TextRequest

__all__ = ["available_datasets", "load_dataset"]

# Per-channel statistics on [0, 1] that torchvision's pre-trained models are normalised with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Normalization = Literal["dataset", "imagenet", "half", "none"]


def load_dataset(
    name: str,
    *,
    root: str | Path,
    image_size: int = 0,
    download: bool = False,
    validation_fraction: float = 0.0,
    seed: int = 0,
    num_clients: int | None = None,
    long_tail: LongTail | None = None,
    normalization: Normalization = "dataset",
    parameters: Mapping[str, Value] | None = None,
) -> Dataset:
    """Load a data set as uint8 tensors; image files are decoded only the first time.

    Parameters
    ----------
    name : str
        One of `available_datasets`.
    root : str or Path
        The folder given to torchvision, e.g. the one that holds ``cifar-10-batches-py``; for
        ``image-folder`` the one that holds ``train`` and ``test``, or what lists of images name; for
        ``cinic10`` the one that holds ``CINIC-10/train`` and ``CINIC-10/test``; for ``shakespeare`` see
        `datasets.shakespeare.layouts.read_roles`.
    image_size : int, default 0
        Side to which images are resized (shorter side, then centre crop); 0 keeps their size.
    download : bool, default False
        Whether missing files may be fetched.
    validation_fraction : float, default 0.0
        Part of the training set to hold out: of images stratified by class, of text the end of each client's.
    seed : int, default 0
        Decides which samples are held out.
    num_clients : int, optional
        Number of natural clients to keep of a text, or of images listed with users, the largest; by default
        all.
    long_tail : LongTail, optional
        Makes the training set of images a long-tailed one, before samples are held out of it; statistics of
        the pixels stay those of the whole set.
    normalization : str, default "dataset"
        What `Dataset.mean` and `Dataset.std` are: the training set's own, those of ImageNet, 0.5 and 0.5, or
        0 and 1.
    parameters : mapping, optional
        The data set's own parameters, spelled as in the configuration (``train-fraction``).

    Raises
    ------
    UserError
        If the name or a parameter is unknown, files are missing or damaged, or a value is impossible.
    """
    text_loader = find_text_loader(name)
    source = None if text_loader else find_source(name)
    arguments = _arguments(name, _declared(name, text_loader), parameters or {})
    if image_size < 0:
        raise UserError(
            f"dataset.image-size must be 0 (keep the size) or a positive number, got {image_size}"
        )
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"dataset.validation-fraction must be at least 0 and less than 1, got {validation_fraction}"
        )
    if text_loader:
        if image_size > 0:
            raise UserError(f"dataset {name!r} is text: leave dataset.image-size at 0")
        if long_tail:
            raise UserError(f"dataset.imbalance-factor is for images, and {name!r} is text: leave it at 1")
        request = TextRequest(Path(root).expanduser(), num_clients, validation_fraction, seed)
        return text_loader(request, **arguments)
    assert source is not None
    folder = Path(root).expanduser()
    lists = _image_lists(folder, num_clients, **arguments)
    if lists is None:
        decoded = _read(source, name, folder, image_size, download)
    else:
        decoded = _read_listed(lists, name, folder, image_size, list(arguments.values()))
    owners = (None, None) if lists is None else (lists.client_ids(lists.train), lists.client_ids(lists.test))
    train = _split(decoded.train_inputs, decoded.train_targets, owners[0])
    test = _split(decoded.test_inputs, decoded.test_targets, owners[1])
    if long_tail:
        train = train.subset(long_tail.indices(decoded.train_targets, len(decoded.class_names), seed))
    validation = None
    if validation_fraction > 0:
        train, validation = _hold_out(train, validation_fraction, seed)
    mean, std = _statistics(source, decoded, normalization)
    return Dataset(
        name=name,
        train=train,
        validation=validation,
        test=test,
        num_classes=len(decoded.class_names),
        class_names=decoded.class_names,
        mean=mean,
        std=std,
        client_names=lists.client_names if lists else (),
    )


def _statistics(
    source: Source, decoded: DecodedDataset, normalization: Normalization
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    channels = len(decoded.mean)
    if normalization == "dataset":
        return source.statistics or (decoded.mean, decoded.std)
    if normalization != "imagenet":
        mean, std = (0.5, 0.5) if normalization == "half" else (0.0, 1.0)
        return (mean,) * channels, (std,) * channels
    if channels != len(IMAGENET_MEAN):
        raise UserError("dataset.normalization 'imagenet' needs colour images: set it to 'dataset'")
    return IMAGENET_MEAN, IMAGENET_STD


def _arguments(
    name: str, declared: Mapping[str, tuple[Any, Any]], given: Mapping[str, Value]
) -> dict[str, Any]:
    """Validate a data set's own parameters; a misspelt key may also be meant for one that all sets have."""
    spellings = {parameter.replace("_", "-") for parameter in declared}
    fixed = {field.alias or key for key, field in DatasetSection.model_fields.items()}
    for key in given:
        if key not in spellings and (hint := nearest(key, fixed | spellings)):
            raise UserError(f"dataset '{name}' has no parameter 'dataset.{key}'{hint}")
    return parse_parameters("dataset", name, declared, given)


def _read(source: Source, name: str, root: Path, image_size: int, download: bool) -> DecodedDataset:
    if not source.paths:
        return decode(source.read(root, download), image_size)
    missing = [path for path in source.paths if not (root / path).exists()]
    if not missing:
        cached = load_entry(root, entry_name(name, image_size, root, source.paths))
        if cached is not None:
            return cached
    elif not source.downloadable:
        layout = " and ".join(f"{root / path}/<class>/*" for path in source.paths)
        raise UserError(f"dataset {name!r}: expected {layout}, but {root / missing[0]} is missing")
    elif not download:
        raise UserError(
            f"dataset {name!r}: {root / missing[0]} is missing; set dataset.root to the folder that has"
            f" {missing[0]}, or allow the download with --set dataset.download=true"
        )
    raw = source.read(root, download)
    return store_entry(root, entry_name(name, image_size, root, source.paths), raw, image_size)


def _declared(name: str, text_loader: Callable[..., Dataset] | None) -> dict[str, tuple[Any, Any]]:
    """Return the data set's own parameters with their annotations and defaults."""
    if text_loader:
        return function_parameters(text_loader)
    return function_parameters(list_parameters) if name == "image-folder" else {}


def _image_lists(
    root: Path, num_clients: int | None, list_file: str = "", test_list_file: str = ""
) -> ImageLists | None:
    """Read the lists of images, if there are any; relative ones lie below `root`."""
    if bool(list_file) != bool(test_list_file):
        raise UserError("dataset.list-file and dataset.test-list-file go together: set both, or none")
    if not list_file:
        return None
    lists = read_image_lists(root / list_file, root / test_list_file)
    return lists.keep_largest(num_clients) if num_clients and lists.client_names else lists


def _read_listed(
    lists: ImageLists, name: str, root: Path, image_size: int, list_files: Sequence[str]
) -> DecodedDataset:
    raw = lists.raw(root)
    entry = entry_name(name, image_size, root, [*list_files, *lists.train.paths, *lists.test.paths])
    return load_entry(root, entry) or store_entry(root, entry, raw, image_size)


def _split(
    inputs: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.int64],
    clients: npt.NDArray[np.int64] | None = None,
) -> Split:
    owners = None if clients is None else torch.from_numpy(clients)
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets), owners)


def _hold_out(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    targets = train.targets.numpy()
    kept, held_out = stratified_hold_out(
        targets, round(fraction * len(targets)), numpy_generator(seed, "validation")
    )
    if len(held_out) == 0:
        raise UserError(f"dataset.validation-fraction {fraction} of {len(targets)} samples is none: raise it")
    if len(np.unique(targets[kept])) < len(np.unique(targets)):
        raise UserError(
            f"dataset.validation-fraction {fraction} leaves a class without training samples: lower it"
        )
    return train.subset(kept), train.subset(held_out)
