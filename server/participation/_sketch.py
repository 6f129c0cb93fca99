"""Short sketches of model changes, which approximately keep norms and angles."""

import functools

import numpy as np
import numpy.typing as npt
import torch

from common.randomness import numpy_generator
from common.records import Tensors
from server.participation._scheme import FloatArray

SKETCH = 128


def sketch(change: Tensors, seed: int) -> FloatArray:
    """Return the count sketch of a change: each entry, with a random sign, is added to one of the sums.

    Inner products of sketches are unbiased estimates of those of the changes, with a relative error of order
    1 / sqrt(``SKETCH``) (Charikar, Chen and Farach-Colton 2002).
    """
    flat = torch.cat([value.flatten().cpu() for value in change.values()]).numpy()
    places, signs = _hashes(seed, len(flat))
    return np.bincount(places, weights=signs * flat, minlength=SKETCH).astype(np.float64)


@functools.lru_cache(maxsize=1)
def _hashes(seed: int, size: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int8]]:
    generator = numpy_generator(seed, "sketch")
    return generator.integers(SKETCH, size=size, dtype=np.int16), generator.choice(
        np.array([-1, 1], dtype=np.int8), size=size
    )
