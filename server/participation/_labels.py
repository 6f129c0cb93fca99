"""The label distributions of the clients."""

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from server.participation._scheme import FloatArray


def label_distributions(label_counts: npt.NDArray[np.int64], scheme: str) -> FloatArray:
    """Return each client's share of each class, (clients, classes); zeros for a client without samples.

    Raises
    ------
    UserError
        If there are no labels; it names the `scheme`.
    """
    sizes = label_counts.sum(axis=1, keepdims=True)
    if not sizes.any():
        raise UserError(f"participation.name '{scheme}' needs data with a label per sample")
    distributions: FloatArray = label_counts / np.maximum(sizes, 1)
    return distributions
