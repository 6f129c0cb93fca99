"""Keyed randomness: (seed, purpose, keys) determines a generator, whatever code asks for it and when.

Each purpose has a fixed number of keys. Nothing here touches the global generators of Python, NumPy or torch;
``common/global_generators.py`` seeds these for code that uses no others.
"""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from common.seed_sequences import first_states

Purpose = Literal[
    "partition", "sampling", "validation", "test-split", "init", "participation", "straggler", "evaluation",
    "measurement",
    "sizes", "shuffle", "augment", "dropout", "noise", "privacy", "long-tail", "local-test",
    "recalibration", "probe", "sse-c", "local-head", "auxiliary", "federated-features", "retraining",
    "label-noise", "step-label-noise", "personal-label-noise", "extra-label-noise", "measurement-label-noise",
    "personal-shuffle", "personal-augment", "personal-dropout", "personal-noise", "personal-validation",
    "extra-shuffle", "extra-augment", "extra-noise",
    "deal", "shard", "replacement", "step-augment", "step-dropout", "extra-dropout",
    "attack", "attack-update", "head-dropout", "individual-init", "inco-noise",
    "feature-noise", "clusters", "compression", "hypernetwork", "clock", "clock-speed", "clock-jitter",
    "clock-bandwidth", "sketch", "topology", "gossip",
    "job", "round", "step-rule", "steps", "personal-steps", "extra-steps", "data", "search",
]  # fmt: skip


def _sequence(seed: int, purpose: Purpose, keys: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *keys])


def numpy_generator(seed: int, purpose: Purpose, *keys: int) -> np.random.Generator:
    """Return the NumPy generator of ``(seed, purpose, *keys)``; keys are usually round and client id."""
    return np.random.default_rng(_sequence(seed, purpose, keys))


def torch_seed(seed: int, purpose: Purpose, *keys: int) -> int:
    """Return the 63-bit seed of ``(seed, purpose, *keys)`` for ``torch.Generator.manual_seed``."""
    return int(_sequence(seed, purpose, keys).generate_state(1, np.uint64)[0] >> 1)


def torch_seeds(seed: int, purpose: Purpose, key: int, last_keys: Sequence[int]) -> list[int]:
    """Return ``torch_seed(seed, purpose, key, last_key)`` for each of the last keys, below 2^32."""
    states = first_states([seed, zlib.crc32(purpose.encode()), key], last_keys)
    return (states >> np.uint64(1)).tolist()  # type: ignore[no-any-return]


def torch_generator(
    seed: int, purpose: Purpose, *keys: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the torch generator of ``(seed, purpose, *keys)`` on ``device``."""
    return torch.Generator(device=device).manual_seed(torch_seed(seed, purpose, *keys))
