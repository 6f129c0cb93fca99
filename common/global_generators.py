"""Generators that other people's code draws from, lent to it with a seed and given back as they were.

A module of a library or of a user draws its dropout from the global generators of torch, NumPy or Python, or
from one that it made itself. Seeded for a block of code by what the block is for, they give it the same
numbers in every process and after a resumption; the numbers of the code around it are left alone. One such
block costs some 0.1 ms, most of it for NumPy's state, where a job of a small model may take less than 1 ms:
our own code draws from no global generator and goes without (``common/outside_code.py``).

A generator that such code makes within a block, without a seed, has one of the block instead of the system's.
"""

import contextlib
import functools
import inspect
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import bit_generator

from common.errors import UserError
from common.plugin_modules import values_of_modules

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random


_thread = threading.local()


@dataclass(frozen=True)
class _Handle:
    """Functions that save, restore and seed the state of a generator."""

    get: Callable[[], Any]
    set: Callable[[Any], Any]
    seed: Callable[[int], Any]


@contextlib.contextmanager
def seeded_globally(
    seed: int, device: torch.device | str = "cpu", own: Iterable[Generator] = (), needed: bool = True
) -> Iterator[Callable[[], bool]]:
    """Seed the global generators for a block, and restore their state afterwards.

    The block gets a function that returns whether it has drawn anything yet.

    Parameters
    ----------
    seed : int
        Below 2**63; see ``common.randomness.torch_seed``.
    device : torch.device or str
        Device on which the block computes: a GPU's generator is one of the global ones.
    own : iterable of generators
        Further generators, which the code in the block created.
    needed : bool
        Whether the block draws from them at all; if not, nothing is done.
    """
    if not needed:
        yield lambda: False
        return
    if _are_left_to_others():
        raise RuntimeError("a thread beside others would seed generators that all of them share")
    handles = _handles(device, own)
    states = [handle.get() for handle in handles]
    try:
        _seed_all(handles, seed)
        with _own_entropy():
            yield functools.partial(_have_drawn, handles, seed)
    finally:
        for handle, state in zip(handles, states, strict=True):
            handle.set(state)


def leave_to_others() -> None:
    """Forbid blocks of this thread to seed the generators from here on: other threads share them."""
    _thread.leaves_generators = True


def seeded_if_drawn(
    device: torch.device | str, own: Iterable[Generator] = ()
) -> contextlib.AbstractContextManager[Callable[[], bool]]:
    """Act as ``seeded_globally(0)`` for code that may draw; do nothing in a thread whose code never does."""
    return seeded_globally(0, device, own, needed=not _are_left_to_others())


def _are_left_to_others() -> bool:
    """Return whether this thread runs only code that draws from no global generator."""
    return getattr(_thread, "leaves_generators", False)


def seed_again(seed: int, device: torch.device | str = "cpu", own: Iterable[Generator] = ()) -> None:
    """Seed the generators of a block of ``seeded_globally`` again, within that block."""
    _seed_all(_handles(device, own), seed)


def _handles(device: torch.device | str, own: Iterable[Generator]) -> list[_Handle]:
    """Return the global generators, those of users' modules, and further ones."""
    further = {id(each): each for each in (*own, *_of_modules())}
    return [*_global_handles(device), *map(_handle, further.values())]


def _of_modules() -> Iterator[Generator]:
    for value in values_of_modules():
        if not _may_draw(type(value)):  # type: ignore[arg-type]  # classes are hashable
            continue
        if isinstance(value, random.SystemRandom):
            raise UserError(
                "a plug-in draws from random.SystemRandom, which has no seed, so that runs would not repeat:"
                " take random.Random()"
            )
        if value is not _NUMPY and value is not _PYTHON:
            yield value


@functools.lru_cache(4096)  # called for every value of the modules, in every job
def _may_draw(kind: type) -> bool:
    return issubclass(kind, GENERATORS)


@contextlib.contextmanager
def _own_entropy() -> Iterator[None]:
    """Seed generators that are created without a seed from ``_ENTROPY`` instead of the system.

    One that a module makes while it is imported has always the same seed: a later block in this process finds
    the module imported, so that it would have other numbers than the first block of another process.
    """
    numpys: Any = bit_generator
    pythons: Any = random.Random
    bits, seed = numpys.randbits, pythons.seed
    imports = _imports_in_progress()

    def entropy(count: int) -> int:
        is_import = _imports_in_progress() > imports
        return 0 if is_import else _ENTROPY.getrandbits(count)

    def seeded(generator: random.Random, a: Any = None, version: int = 2) -> None:
        is_ours = a is None and not isinstance(generator, random.SystemRandom)
        seed(generator, entropy(64) if is_ours else a, version)

    numpys.randbits, pythons.seed = entropy, seeded
    try:
        yield
    finally:
        numpys.randbits, pythons.seed = bits, seed


def _imports_in_progress() -> int:
    """Return how many modules are just being executed for the first time, in this thread."""
    count, frame = 0, inspect.currentframe()
    while frame is not None:
        count += frame.f_code.co_name == "exec_module"
        frame = frame.f_back
    return count


def _have_drawn(handles: Sequence[_Handle], seed: int) -> bool:
    """Return whether generators differ from freshly seeded ones, without changing their state."""
    states = [handle.get() for handle in handles]
    _seed_all(handles, seed)
    seeded = [handle.get() for handle in handles]
    for handle, state in zip(handles, states, strict=True):
        handle.set(state)
    return not all(map(_is_same, states, seeded))


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two states of a generator are equal: tensors, or arrays and numbers in containers."""
    if isinstance(one, dict):
        return all(_is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, tuple):
        return all(map(_is_same, one, other))
    return bool(np.array_equal(one, other))


def _seed_all(handles: Iterable[_Handle], seed: int) -> None:
    for handle in handles:
        handle.seed(seed)


def _global_handles(device: torch.device | str) -> list[_Handle]:
    device = torch.device(device)
    handles = [*_ALWAYS]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        handles.append(_handle(torch.cuda.default_generators[index]))
    return handles


def _handle(generator: Generator) -> _Handle:
    if isinstance(generator, torch.Generator):
        return _Handle(generator.get_state, generator.set_state, generator.manual_seed)
    if isinstance(generator, random.Random):
        return _Handle(generator.getstate, generator.setstate, generator.seed)
    if isinstance(generator, np.random.RandomState):
        return _Handle(
            lambda: generator.get_state(legacy=False),
            generator.set_state,
            lambda seed: generator.seed(seed % 2**32),
        )
    bits = generator.bit_generator

    def set_state(state: Any) -> None:
        bits.state = state

    # A new one of the same kind: a bit generator cannot be seeded twice.
    return _Handle(lambda: bits.state, set_state, lambda seed: set_state(type(bits)(seed).state))


_NUMPY: np.random.RandomState = np.random.mtrand._rand  # what the functions of ``np.random`` draw from
_PYTHON: random.Random = random._inst  # type: ignore[attr-defined]
_ENTROPY = random.Random(0)
_ALWAYS = (
    _handle(_ENTROPY),
    _handle(torch.default_generator),
    _handle(_NUMPY),
    _Handle(random.getstate, random.setstate, random.seed),
)
