"""Load a data set by name."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import UserError, described
from common.files import expanded
from common.parameters import function_parameters, parse_parameters
from common.plugin_kinds import DATASET
from common.plugins import find_function
from common.sections import DatasetSection, Value
from datasets.arrays import Arrays, from_arrays
from datasets.dataset import Dataset
from datasets.long_tail import LongTail
from datasets.request import Normalization, Request

__all__ = ["load_dataset"]


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
    numbers: bool | None = None,
    parameters: Mapping[str, Value] | None = None,
    validation_seed: int | None = None,
) -> Dataset:
    """Load a data set: ``load`` of the file ``datasets/sets/<name>.py``, or of a plug-in.

    Parameters
    ----------
    name : str
        Name of the data set, or ``package.module:function``.
    root : str or Path
        The folder of the data: for torchvision's sets torchvision's ``root``, e.g. the folder that
        holds ``cifar-10-batches-py``; for ``image-folder`` the one that holds ``train`` and ``test``, or what
        lists of images name; for ``cinic10`` the one that holds ``CINIC-10``; for ``csv`` and ``npz`` the one
        that holds ``train.csv``; for ``shakespeare`` see `datasets.shakespeare.layouts.read_roles`.
    image_size, download, validation_fraction, validation_seed, seed, num_clients, long_tail, normalization,
    numbers
        See `datasets.request.Request`.
    parameters : mapping, optional
        The data set's own parameters, spelled as in the configuration (``train-fraction``).

    Raises
    ------
    UserError
        If the name or a parameter is unknown, files are missing or damaged, or a value is impossible.
    """
    load = find_function(DATASET, name)
    arguments = _arguments(name, function_parameters(load), parameters or {})
    if image_size < 0:
        raise UserError(
            f"dataset.image-size must be 0 (keep the size) or a positive number, got {image_size}"
        )
    if not 0 <= validation_fraction < 1:
        raise UserError(
            f"dataset.validation-fraction must be at least 0 and less than 1, got {validation_fraction}"
        )
    request = Request(
        name,
        expanded(root, "dataset.root"),
        seed,
        num_clients,
        validation_fraction,
        image_size,
        download,
        long_tail,
        normalization,
        numbers,
        parameters or {},
        validation_seed,
    )
    made = _made(name, load, _asked_for(load, request) | arguments)
    if isinstance(made, Dataset):
        return made
    if not isinstance(made, Arrays):
        raise UserError(
            f"'load' of dataset '{name}' must return datasets.arrays.Arrays, not {type(made).__name__}"
        )
    return from_arrays(made, request)


def _made(name: str, load: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a data set's function; other exceptions of its code become a `UserError` that says where."""
    try:
        return load(**arguments)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"'load' of dataset '{name}' failed: {described(error)}") from error


def _asked_for(load: Callable[..., Any], request: Request) -> dict[str, Any]:
    """Return the fields of the request that a function's positional parameters name."""
    offered = {"request": request, "root": request.root, "seed": request.seed, "download": request.download}
    wanted = [
        name
        for name, parameter in inspect.signature(load).parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        and (name in offered or parameter.default is inspect.Parameter.empty)
    ]
    if strange := [name for name in wanted if name not in offered]:
        raise UserError(
            f"'load' of dataset '{request.name}' has a parameter '{strange[0]}': it is given any of"
            f" {', '.join(offered)}; its own parameters come after a '*', with a default"
        )
    return {name: offered[name] for name in wanted}


def _arguments(
    name: str, declared: Mapping[str, tuple[Any, Any]], given: Mapping[str, Value]
) -> dict[str, Any]:
    """Validate a data set's own parameters; hints at misspelt keys include those of all sets."""
    return parse_parameters("dataset", name, declared, given, DatasetSection.fixed_keys())
