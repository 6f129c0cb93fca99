"""Profiles of the clients' speeds, found by file name: ``clock.profile = "log-normal"`` is ``log_normal.py``.

A profile module has one function ``seconds(num_clients, generator, *, ...)``, which returns how many
virtual seconds a job takes each client; its keyword parameters can be set as ``clock.<parameter>``.
"""

import functools
from typing import Any

from common.chosen import chosen_function
from common.plugin_kinds import CLOCK
from common.sections import ClockSection


def clock_profile(section: ClockSection) -> functools.partial[Any]:
    """Return the profile of a run with its parameters.

    Raises
    ------
    UserError
        If there is no such profile or parameter, or a value is out of range.
    """
    return chosen_function(CLOCK, section)
