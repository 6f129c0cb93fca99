"""Weighted sampling without replacement in log space."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_MOST_DRAWS, _LEAST_DRAWS = 10_000, 1_000
# Of a million items 1,000 draws would take a minute: their number falls further.
_MANY, _VALUES_OF_MANY, _LEAST_OF_MANY = 20_000, 20_000_000, 50
_VALUES = 4_000_000  # bounds the time: with more items, fewer draws give the same precision
_VALUES_PER_STEP = 1_000_000  # bounds the memory


def gumbel_top(log_weights: FloatArray, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw `size` items one after the other, each with probability proportional to its weight.

    The `size` largest of log w_i + Gumbel_i have exactly the distribution of sequential draws without
    replacement (Yellott 1977), and weights that would underflow do no harm.

    Parameters
    ----------
    log_weights : numpy.ndarray
        Shape (..., items): one experiment, or many independent ones.

    Returns
    -------
    numpy.ndarray
        int64, shape (..., size), in the order of the draws.
    """
    keys = log_weights + generator.gumbel(size=log_weights.shape)
    return np.argsort(-keys, axis=-1, kind="stable")[..., :size]


def inclusion_probabilities(
    log_weights: FloatArray,
    size: int,
    generator: np.random.Generator,
    num_draws: int = 0,
) -> FloatArray:
    """Estimate the probability that each item is among the `size` that ``gumbel_top`` draws.

    In the race of exponential clocks T_i ~ Exp(w_i) the first `size` are drawn, so that given all others
    item i is in with probability 1 - exp(-w_i tau), tau being the `size`-th clock of the others. The mean of
    that over `num_draws` races has a much smaller variance than counting, and is above 0 for rare items. What
    error remains is for the most part a factor common to all, and goes since the sum is known.

    Returns
    -------
    numpy.ndarray
        Shape of `log_weights`; sums to `size`, but for values that would exceed 1.
    """
    num_items = len(log_weights)
    if size >= num_items:
        return np.ones(num_items)
    num_draws = num_draws or _number_of_draws(num_items)
    log_weights = log_weights - log_weights.max()
    total = np.zeros(num_items)
    done = 0
    while done < num_draws:
        step = min(num_draws - done, max(1, _VALUES_PER_STEP // num_items))
        log_clocks = -generator.gumbel(size=(step, num_items)) - log_weights
        firsts = np.partition(log_clocks, (size - 1, size), axis=1)[:, size - 1 : size + 1]
        last_in, first_out = firsts[:, :1], firsts[:, 1:]
        log_tau = np.where(log_clocks <= last_in, first_out, last_in)
        # exp overflows to infinity where a client is certain to be in, and is capped to stay silent.
        total -= np.expm1(-np.exp(np.minimum(log_weights + log_tau, 700.0))).sum(axis=0)
        done += step
    inclusion: FloatArray = np.minimum(total * (size / total.sum()), 1.0)
    return inclusion


def _number_of_draws(num_items: int) -> int:
    if num_items > _MANY:
        return max(_LEAST_OF_MANY, _VALUES_OF_MANY // num_items)
    return min(_MOST_DRAWS, max(_LEAST_DRAWS, _VALUES // num_items))
