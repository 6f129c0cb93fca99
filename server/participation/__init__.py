"""Which clients are called in a round; each scheme is a module here, found by its file name.

A scheme module defines ``sample(num_clients, cohort_size, generator, *, <parameters>)``, giving client ids.
The cohort of a round depends on (seed, round) alone, never on what was drawn before.
"""

import sys
from collections.abc import Callable, Sequence

import numpy as np

from common.config import Config, drop_inherited_defaults
from common.errors import unknown_name
from common.parameters import function_parameters, parse_parameters
from common.plugins import available_plugins, load_plugin
from common.randomness import Purpose, numpy_generator

_PACKAGE = sys.modules[__name__]


def cohort_size(num_clients: int, fraction: float) -> int:
    """Return m = max(1, round(C K)), rounded half up and never truncated."""
    return max(1, int(np.floor(fraction * num_clients + 0.5)))


class Participation:
    """The participation scheme of a run.

    Raises
    ------
    UserError
        Unknown scheme or parameter, when it is made.
    """

    def __init__(self, config: Config) -> None:
        name = config.participation.name
        module = load_plugin(_PACKAGE, name)
        if module is None:
            raise unknown_name("participation.name", name, available_plugins(_PACKAGE))
        self._sample: Callable[..., Sequence[int]] = module.sample
        declared = function_parameters(self._sample)
        given = drop_inherited_defaults("participation", config.participation.parameters, declared)
        self._parameters = parse_parameters("participation", name, declared, given)
        self._seed = config.seed
        self._num_clients = config.clients.count

    def cohort(self, server_round: int, fraction: float, purpose: Purpose = "participation") -> list[int]:
        """Return the client ids of a round, ascending."""
        size = cohort_size(self._num_clients, fraction)
        generator = numpy_generator(self._seed, purpose, server_round)
        return sorted(int(i) for i in self._sample(self._num_clients, size, generator, **self._parameters))
