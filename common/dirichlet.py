"""Dirichlet draws in log space, so that a tiny concentration cannot underflow."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# Below this a draw is one-hot to the last bit, and its logarithm would overflow.
_SMALLEST_CONCENTRATION = 1e-100


def log_dirichlet_weights(concentration: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Return logarithms of independent gamma variates: a Dirichlet draw before normalisation.

    Uses ``Gamma(a) = Gamma(a + 1) * U ** (1 / a)`` (Marsaglia and Tsang 2000), since ``Gamma(a)`` itself is
    zero in floating point for most draws once ``a`` is small, and normalising zeros yields NaN.
    """
    concentration = np.maximum(concentration, _SMALLEST_CONCENTRATION)
    # 1 - random() lies in (0, 1], so that its logarithm is finite.
    uniform = 1 - generator.random(len(concentration))
    return np.log(generator.standard_gamma(concentration + 1)) + np.log(uniform) / concentration


def normalise(log_weights: FloatArray, allowed: npt.NDArray[np.bool_]) -> FloatArray:
    """Return probabilities over the allowed entries, at least one, and 0 elsewhere."""
    largest = log_weights[allowed].max()
    weights = np.exp(np.where(allowed, log_weights - largest, -np.inf))
    probabilities: FloatArray = weights / weights.sum()
    return probabilities
