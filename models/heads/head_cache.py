"""An on-disk cache of optimised SSE-C heads."""

import contextlib
import fcntl
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from common.files import read_regular, user_cache, write_atomic
from common.randomness import torch_generator
from models.heads.sse_c import make_sse_c

_FORMAT_VERSION = 2
_HEAD, _HASH = "head", "sha256"


@dataclass(frozen=True)
class HeadSpec:
    """Everything that determines an SSE-C head.

    Attributes
    ----------
    num_classes, num_features : int
        Its shape.
    sparsity : float
        Share of entries that are zero.
    norm : float
        Target norm of the rows.
    steps, learning_rate
        Settings of the optimisation.
    seed : int
        Of the run.
    """

    num_classes: int
    num_features: int
    sparsity: float
    norm: float
    steps: int
    learning_rate: float
    seed: int

    @property
    def file_name(self) -> str:
        """The name of its file, which changes with every parameter."""
        digest = hashlib.sha256(repr((_FORMAT_VERSION, *astuple(self))).encode()).hexdigest()
        return f"sse-c-{self.num_features}x{self.num_classes}-{digest[:16]}.safetensors"

    @property
    def num_zeros(self) -> int:
        """Number of entries that are exactly zero."""
        return int(self.sparsity * self.num_features * self.num_classes)


@functools.lru_cache(maxsize=8)
def cached_sse_c(spec: HeadSpec) -> Tensor:
    """Return the SSE-C head of `spec`, float32 (classes, features); do not write to it.

    It is optimised once and kept in the user's cache, ``FLOWERBED_CACHE`` or ``~/.cache/flowerbed``. If
    several processes need the same head at once, one optimises and the others wait. Without a writable folder
    every process optimises.

    Raises
    ------
    UserError
        From ``models.heads.sse_c.make_sse_c``.
    """
    folder = user_cache()
    path = folder / spec.file_name
    if (head := _read(path, spec)) is not None:
        return head
    with _only_one(path):
        if (head := _read(path, spec)) is not None:
            return head
        head = _make(spec)
        with contextlib.suppress(OSError):
            write_atomic(path, save({_HEAD: head, _HASH: _hash(head)}))
    return head


def _make(spec: HeadSpec) -> Tensor:
    return make_sse_c(
        spec.num_classes,
        spec.num_features,
        torch_generator(spec.seed, "sse-c"),
        sparsity=spec.sparsity,
        norm=spec.norm,
        steps=spec.steps,
        learning_rate=spec.learning_rate,
    )


def _read(path: Path, spec: HeadSpec) -> Tensor | None:
    """Return the head of a file; None if there is none, or it is damaged."""
    try:
        content = load(read_regular(path))
        head, expected = content[_HEAD], content[_HASH]
    except (OSError, SafetensorError, ValueError, LookupError, TypeError):
        return None
    if not torch.equal(_hash(head), expected):
        return None
    fits = head.shape == (spec.num_classes, spec.num_features) and head.dtype == torch.float32
    return head if fits and int((head == 0).sum()) == spec.num_zeros else None


def _hash(head: Tensor) -> Tensor:
    """Return the SHA-256 of a head's values, as a tensor that can be stored next to it."""
    digest = hashlib.sha256(head.contiguous().numpy().tobytes()).digest()
    return torch.tensor(list(digest), dtype=torch.uint8)


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Wait for other processes that make the same file; do not fail if the folder supports no locks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock").open("ab")
    except OSError:
        yield
        return
    with lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
