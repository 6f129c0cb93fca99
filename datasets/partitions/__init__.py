"""Partitions of a training set over clients; each scheme is a module here, found by its file name.

A scheme module has one public function ``partition(targets, num_clients, generator, *, ...)`` whose keyword
parameters, with their annotations and defaults, can be set as ``partition.<parameter>``. It returns one int64
index array per client, sorted and disjoint: a ``Partition``, or a list of arrays. A scheme with a fourth
parameter ``natural_clients`` is also given the natural client of every sample, or None; one with ``classes``
the class from which each label was derived (``dataset.binarize``), or the label itself. Modules with a
leading underscore are helpers.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from common.errors import UserError
from common.parameters import Declared, function_parameters, parse_parameters
from common.plugin_kinds import PARTITION
from common.plugins import find_function, project_names
from common.sections import Value
from datasets.partition import IndexArray, Partition

__all__ = ["make_partition", "partition_parameters"]


def partition_parameters(name: str) -> Declared:
    """Return a scheme's parameters; there are none where each node has its own data."""
    return Declared() if name == "node" else function_parameters(_scheme(name))


def parse_arguments(name: str, parameters: Mapping[str, Value]) -> dict[str, Any]:
    """Validate the parameters of a scheme, spelled as in the configuration.

    Raises
    ------
    UserError
        If there is no such scheme, or a parameter or its value is wrong.
    """
    return parse_parameters("partition", name, partition_parameters(name), parameters)


def make_partition(
    name: str,
    targets: IndexArray,
    num_clients: int,
    generator: np.random.Generator,
    parameters: Mapping[str, Value],
    natural_clients: IndexArray | None = None,
    classes: IndexArray | None = None,
) -> Partition:
    """Distribute the samples over clients.

    Parameters
    ----------
    name : str
        Name of the scheme.
    targets : numpy.ndarray
        The label of every training sample.
    num_clients : int
        Number of clients, each of which gets at least one sample.
    generator : numpy.random.Generator
        The only source of randomness.
    parameters : mapping
        The scheme's parameters, spelled as in the configuration (``classes-per-client``).
    natural_clients : numpy.ndarray, optional
        The natural client of every training sample, if the data have any.
    classes : numpy.ndarray, optional
        The class from which each label was derived, if that is not the label itself.

    Returns
    -------
    Partition
        For each client its int64 indices into ``targets``: sorted, disjoint between clients.

    Raises
    ------
    UserError
        If the scheme, a parameter or its value is wrong, or the partition is impossible.
    """
    scheme = _scheme(name)
    arguments = parse_arguments(name, parameters)
    if num_clients < 1:
        raise UserError(f"clients.count must be at least 1, got {num_clients}")
    if num_clients > len(targets):
        raise UserError(
            f"clients.count is {num_clients}, more than the {len(targets)} training samples: lower it"
        )
    given: tuple[IndexArray | None, ...] = ()
    if "natural_clients" in inspect.signature(scheme).parameters:
        given = (natural_clients,)
    elif "classes" in inspect.signature(scheme).parameters:
        given = (np.asarray(targets if classes is None else classes),)
    given_targets = np.asarray(targets).view()
    given_targets.flags.writeable = False  # they are the data set's
    made = scheme(given_targets, num_clients, generator, *given, **arguments)
    if name in project_names(PARTITION) and isinstance(made, Partition):
        return made
    return _checked(made, name, len(targets), num_clients)


def _checked(made: object, name: str, num_samples: int, num_clients: int) -> Partition:
    """Check the result of a scheme and return it as a partition of sorted int64 arrays."""
    parts = [np.asarray(part) for part in made] if isinstance(made, Sequence | np.ndarray) else []
    fault = ""
    if len(parts) != num_clients:
        fault = f"must return a list of {num_clients} arrays of indices, one per client"
    elif any(part.ndim != 1 or not len(part) or part.dtype.kind not in "iu" for part in parts):
        fault = "must give every client a one-dimensional array of integers that is not empty"
    else:
        dealt = np.concatenate(parts)
        if dealt.min() < 0 or dealt.max() >= num_samples:
            fault = f"must give indices from 0 to {num_samples - 1}"
        elif len(np.unique(dealt)) < len(dealt):
            fault = "must not deal a sample twice"
    if fault:
        raise UserError(f"partition.name '{name}' {fault}")
    return Partition.of(parts).sorted()


def _scheme(name: str) -> Callable[..., Sequence[IndexArray]]:
    return find_function(PARTITION, name)
