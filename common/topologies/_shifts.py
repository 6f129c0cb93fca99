"""Links from each worker to workers at fixed distances after it."""

import numpy as np
import numpy.typing as npt

from common.topologies import Links


def powers_of_two(num_workers: int) -> list[int]:
    """Return 1, 2, 4, ... below the number of workers: ceil(log2 n) of them."""
    return [2**power for power in range((num_workers - 1).bit_length())]


def shifted(num_workers: int, shift: int) -> Links:
    """Return the links by which worker i receives from worker i + shift."""
    found: npt.NDArray[np.bool_] = np.roll(np.eye(num_workers, dtype=np.bool_), shift, axis=1)
    return found
