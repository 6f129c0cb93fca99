"""Log-normal speeds."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field


def seconds(
    num_clients: int, generator: np.random.Generator, *, spread: Annotated[float, Field(ge=0, le=100)] = 0.0
) -> npt.NDArray[np.float64]:
    """Return log-normal seconds: their logarithms have mean 0 and standard deviation `spread`."""
    return np.exp(spread * generator.standard_normal(num_clients))
