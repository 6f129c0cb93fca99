"""Weighted sampling without replacement in log space."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_MIN_PROBABILITY = 1e-200  # a client with a smaller one is never drawn
_MAX_DRAWS, _MIN_DRAWS = 10_000, 1_000
# With a million items 1,000 draws would take a minute, so there are fewer.
_MANY, _VALUES_OF_MANY, _MIN_OF_MANY = 20_000, 20_000_000, 50
_VALUES = 4_000_000  # bounds the time: with more items, fewer draws give the same precision
_VALUES_PER_STEP = 1_000_000  # bounds the memory


def gumbel_top(log_weights: FloatArray, size: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw `size` items one after the other, each with probability proportional to its weight.

    The `size` largest of log w_i + Gumbel_i have exactly the distribution of sequential draws without
    replacement (Yellott 1977), and log weights cannot underflow.

    Parameters
    ----------
    log_weights : numpy.ndarray
        Shape (..., items): one experiment, or several independent ones.

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

    Item i has an exponential clock T_i ~ Exp(w_i), and the items of the first `size` clocks are drawn. Given
    the other clocks, item i is drawn with probability 1 - exp(-w_i tau), where tau is the `size`-th of them.
    The mean of that over `num_draws` races has a much smaller variance than counting, and is above 0 for rare
    items. Most of the error that remains is a factor common to all items, which the known sum removes.

    Returns
    -------
    numpy.ndarray
        Shape of `log_weights`; sums to `size`, except that values above 1 are set to 1.
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
        # Capped, since exp would overflow, with a warning, for a client that is certain to be drawn.
        total -= np.expm1(-np.exp(np.minimum(log_weights + log_tau, 700.0))).sum(axis=0)
        done += step
    inclusion: FloatArray = np.minimum(total * (size / total.sum()), 1.0)
    return inclusion


def correcting_weights(inclusion: FloatArray) -> FloatArray:
    """Return 1 / pi, bounded so that it stays finite times a number of samples."""
    return 1 / np.maximum(inclusion, _MIN_PROBABILITY)


def _number_of_draws(num_items: int) -> int:
    if num_items > _MANY:
        return max(_MIN_OF_MANY, _VALUES_OF_MANY // num_items)
    return min(_MAX_DRAWS, max(_MIN_DRAWS, _VALUES // num_items))
