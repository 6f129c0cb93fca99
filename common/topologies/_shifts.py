"""Links from each client to clients at fixed distances after it."""

import numpy as np
import numpy.typing as npt

from common.topologies import Links


def powers_of_two(num_clients: int) -> list[int]:
    """Return 1, 2, 4, ... below the number of clients: ceil(log2 n) of them."""
    return [2**power for power in range((num_clients - 1).bit_length())]


def shifted(num_clients: int, shift: int) -> Links:
    """Return the links by which client i receives from client i + shift."""
    found: npt.NDArray[np.bool_] = np.roll(np.eye(num_clients, dtype=np.bool_), shift, axis=1)
    return found
