"""Partitions of a training set over clients; each scheme is a module here, found by its file name.

A scheme module has one public function ``partition(targets, num_clients, generator, *, ...)`` whose keyword
parameters, with their annotations and defaults, are what ``partition.<parameter>`` may set. It returns one
int64 index array per client, sorted and disjoint. Modules with a leading underscore are helpers.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from datasets.names import unknown_name

__all__ = ["available_partitions", "make_partition", "partition_parameters"]

IndexArray = npt.NDArray[np.int64]

_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def available_partitions() -> list[str]:
    """Return the names of all schemes."""
    return sorted(
        _config_spelling(module.name)
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    )


def partition_parameters(name: str) -> dict[str, object]:
    """Return a scheme's parameters, spelled as in the configuration, and their defaults."""
    return {_config_spelling(key): parameter.default for key, parameter in _parameters(_scheme(name)).items()}


def make_partition(
    name: str,
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    parameters: Mapping[str, object],
) -> list[IndexArray]:
    """Distribute the samples over clients.

    Parameters
    ----------
    name : str
        One of `available_partitions`.
    targets : numpy.ndarray
        The label of every training sample.
    num_clients : int
        Number of clients, each of which gets at least one sample.
    generator : numpy.random.Generator
        The only source of randomness.
    parameters : mapping
        The scheme's parameters, spelled as in the configuration (``classes-per-client``).

    Returns
    -------
    list of numpy.ndarray
        For each client its int64 indices into ``targets``: sorted, disjoint between clients.

    Raises
    ------
    UserError
        If the scheme, a parameter or its value is wrong, or the partition is impossible.
    """
    scheme = _scheme(name)
    arguments = _checked_arguments(name, scheme, parameters)
    if num_clients < 1:
        raise UserError(f"clients.count must be at least 1, got {num_clients}")
    if num_clients > len(targets):
        raise UserError(
            f"clients.count is {num_clients}, more than the {len(targets)} training samples: lower it"
        )
    return scheme(np.asarray(targets), num_clients, generator, **arguments)


def _config_spelling(name: str) -> str:
    return name.replace("_", "-")


def _scheme(name: str) -> Callable[..., list[IndexArray]]:
    if name not in available_partitions():
        raise unknown_name("partition.name", name, available_partitions())
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    scheme: Callable[..., list[IndexArray]] = module.partition
    return scheme


def _parameters(scheme: Callable[..., object]) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(scheme, eval_str=True)
    return {key: value for key, value in signature.parameters.items() if value.kind is value.KEYWORD_ONLY}


def _checked_arguments(
    name: str, scheme: Callable[..., object], parameters: Mapping[str, object]
) -> dict[str, object]:
    known = {_config_spelling(key): parameter for key, parameter in _parameters(scheme).items()}
    arguments: dict[str, object] = {}
    for key, value in parameters.items():
        if key not in known:
            raise unknown_name(f"parameter of partition {name!r}:", key, known)
        expected = known[key].annotation
        accepted = (int, float) if expected is float else expected
        # bool is an int to Python, but `alpha = true` is a mistake.
        if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
            raise UserError(f"partition.{key} must be {_KINDS[expected]}, got {value!r}")
        arguments[known[key].name] = expected(value)
    return arguments
