"""Log-normal speeds."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field


def seconds(
    num_clients: int, generator: np.random.Generator, *, spread: Annotated[float, Field(ge=0, le=100)] = 0.0
) -> npt.NDArray[np.float64]:
    """Return log-normal seconds with median 1, and standard deviation `spread` of their logarithms."""
    return np.exp(spread * generator.standard_normal(num_clients))
