"""The number of Ray workers that fit, and the share of a GPU of each, with the arithmetic as text."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

RESERVE = 0.25  # of the peak, for what the measured job did not show, such as larger evaluation batches
_PARTS = 10_000  # Ray's resolution of a resource
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Machine:
    """The resources that Ray may use on one machine."""

    cpus: float
    gpus: float = 0.0


def workers_that_fit(machines: Iterable[Machine], cpus: float, gpus: float) -> tuple[int, str]:
    """Return the number of workers with `cpus` and `gpus` each that fit, and the arithmetic as text.

    A worker runs on one machine and takes a fraction of one GPU, or whole ones.
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
    """Return the fraction of a GPU that a worker needs, and the arithmetic as text.

    Parameters
    ----------
    peak : int
        Peak bytes of GPU memory of a worker in training.
    total : int
        Bytes of memory of a GPU.
    gpus : int
        Number of GPUs.
    most : int
        Most workers by all limits other than GPU memory.
    """
    needed = peak * (1 + RESERVE)
    by_memory, by_rest = max(1, int(total / needed)), max(1, -(-most // gpus))
    count = min(by_memory, by_rest, _PARTS)
    parts = _PARTS // count
    if _PARTS // parts > count:  # rounded down, more of them would fit
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
