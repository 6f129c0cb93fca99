"""The size of a round's cohort."""

import math


def cohort_size(num_clients: int, fraction: float) -> int:
    """Return m = max(1, round(C K)), rounded half up."""
    return max(1, math.floor(fraction * num_clients + 0.5))
