"""How many clients train at once: ``runtime.stack`` as a run keeps it."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid

from common.cohort import cohort_size
from common.config import Config
from common.device import resolve_device
from common.errors import described
from common.records import LOCAL_STEPS, SERVER_ROUND, to_record, to_tensors
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.messages.cohort_grid import CohortGrid
from server.parts import Parts

MAX_STACK, MAX_VALUES = 256, 2**26  # clients of a stack that are tried, and values of all their models
STEPS = 3  # local steps of a measurement
GAIN = 1.1  # how much faster a stack has to be

Say = Callable[[str], None]


@runtime_checkable
class Stacking(Protocol):
    """A Grid that can train several clients at once.

    Attributes
    ----------
    stack : int
        How many.
    say : callable
        Takes a line for whoever runs the experiment.
    """

    stack: int
    say: Say

    def measure_stacks(self, messages: Sequence[Message], sizes: Sequence[int]) -> Mapping[int, float]:
        """Train clients on these messages, keep nothing, and return local steps per second by size."""


def with_settled_stack(parts: Parts, grid: Grid, path: Path, say: Say) -> Parts:
    """Return the parts with ``runtime.stack`` as it is stored, and let the Grid know.

    Parameters
    ----------
    parts : Parts
        Those of the run.
    grid : Grid
        One that cannot train several clients at once trains them one by one.
    path : Path
        The run directory: a run that is resumed keeps its value.
    say : callable
        Takes a line for whoever runs the experiment.
    """
    config = parts.config
    if not isinstance(grid, Stacking):
        if config.runtime.stack > 1:
            say(f"runtime.stack = {config.runtime.stack} has no effect: here clients train one by one")
        return replace(parts, config=config.with_stack(1))
    grid.say = say
    grid.stack = _stored(config, path) or _chosen(parts, grid, say)
    return replace(parts, config=config.with_stack(grid.stack))


def _stored(config: Config, path: Path) -> int:
    """Return the value of the run that is resumed, or the configuration's; 0 if there is neither."""
    if config.runtime.stack >= 1:
        return config.runtime.stack
    stored = find_stored_config(path, config.plugins) if config.run.resume else None
    if stored is not None:
        return max(1, stored_config(stored.values, config.plugins).runtime.stack)
    on_cpu = resolve_device(config.device).type == "cpu"
    return 1 if config.runtime.stack < 0 and on_cpu else 0


def _chosen(parts: Parts, grid: Stacking, say: Say) -> int:
    """Measure sizes of stacks, and return the fastest one if it is worth it."""
    try:
        rates = grid.measure_stacks(*_trial(parts, grid))
    except Exception as error:
        say(f"runtime.stack = 1: nothing could be measured, since {described(error)}")
        return 1
    best = max(rates, key=lambda size: rates[size])
    best = best if rates[best] > GAIN * rates[1] else 1
    measured = ", ".join(f"{size}: {rate:,.0f}" for size, rate in rates.items())
    say(f"runtime.stack = {best}: local steps per second by number of clients at once were {measured}")
    return best


def _trial(parts: Parts, grid: Stacking) -> tuple[list[Message], list[int]]:
    """Return messages of the first round to some clients, with few local steps, and the sizes to try."""
    assert isinstance(grid, Grid)
    config, clients = parts.config, parts.clients
    count = min(MAX_STACK, cohort_size(config.clients.count, config.clients.fraction))
    nodes = [clients.node_ids[client_id] for client_id in range(count)]
    strategy = copy.deepcopy(parts.strategy)
    initial = strategy.initial_model(to_tensors(parts.evaluation.initial_arrays()), config.seed)
    shared = {name: value for name, value in initial.items() if name not in clients.personal_names}
    message_config = ConfigRecord({SERVER_ROUND: 1, LOCAL_STEPS: STEPS})
    messages = strategy.configure_train(1, to_record(shared), message_config, CohortGrid(grid, nodes))
    values = sum(value.numel() for value in initial.values())
    sizes = {
        1,
        *(size for size in (4, 16, 64, MAX_STACK, count) if size <= count and size * values <= MAX_VALUES),
    }
    return list(messages), sorted(sizes)
