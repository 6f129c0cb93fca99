"""Every subset of the cohort's size is equally likely."""

import numpy as np
import numpy.typing as npt


def sample(num_clients: int, cohort_size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw a cohort without replacement."""
    return generator.choice(num_clients, size=cohort_size, replace=False)
