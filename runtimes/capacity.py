"""How many Ray workers fit, and what part of a GPU each takes: arithmetic, with a line that shows it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

RESERVE = 0.25  # of the peak: what the measured job did not show, as larger batches of an evaluation
_PARTS = 10_000  # in which Ray counts a resource
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Machine:
    """What Ray may use of one machine."""

    cpus: float
    gpus: float = 0.0


def workers_that_fit(machines: Iterable[Machine], cpus: float, gpus: float) -> tuple[int, str]:
    """Return how many workers that take `cpus` and `gpus` fit, and how that was computed.

    A worker runs on one machine and takes a part of one GPU, or whole ones.
    """
    total, terms = 0, []
    for machine, count in Counter(machines).items():
        fitting, term = _on_machine(machine, cpus, gpus)
        total += count * fitting
        terms.append(term if count == 1 else f"{count} machines with {term}")
    return total, "; ".join(terms)


def _on_machine(machine: Machine, cpus: float, gpus: float) -> tuple[int, str]:
    by_cpus = math.floor(machine.cpus / cpus + _ROUNDING)
    term = f"{machine.cpus:g} CPUs / {cpus:g} = {by_cpus}"
    if gpus <= 0:
        return by_cpus, term
    whole = int(machine.gpus)
    by_gpus = whole * math.floor(1 / gpus + _ROUNDING) if gpus <= 1 else int(whole / gpus)
    return min(by_cpus, by_gpus), f"{term}, {whole} GPUs / {gpus:g} = {by_gpus}"


def part_of_gpu(peak: int, total: int, gpus: int, most: int) -> tuple[float, str]:
    """Return what part of a GPU one worker needs, and how that was computed.

    Parameters
    ----------
    peak : int
        Bytes that a worker took of its GPU while it trained.
    total : int
        Bytes that a GPU has.
    gpus : int
        How many there are.
    most : int
        Workers that anything else than the GPUs' memory admits.
    """
    needed = peak * (1 + RESERVE)
    by_memory, by_rest = max(1, int(total / needed)), max(1, -(-most // gpus))
    count = min(by_memory, by_rest, _PARTS)
    parts = _PARTS // count
    if _PARTS // parts > count:  # rounded down it would admit more of them
        parts += 1
    part = parts / _PARTS
    arithmetic = (
        f"resources.gpus-per-client = {part:g}: a client took {_gigabytes(peak)} at its peak, with a reserve"
        f" of {RESERVE:.0%} {_gigabytes(needed)}, of {_gigabytes(total)}, so that {by_memory} fit on a GPU"
    )
    if by_rest < by_memory:
        arithmetic += f"; {most} workers at most on {gpus} GPUs are {by_rest} on each"
    return part, arithmetic


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
