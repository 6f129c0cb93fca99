"""Schemes whose cohorts are drawn from probabilities that are fixed for the run."""

import functools
from typing import Literal

import numpy as np
import numpy.typing as npt

from server.participation._sampling import correcting_weights, gumbel_top, inclusion_probabilities
from server.participation._scheme import Facts, FloatArray, ParticipationScheme, SelectionContext

_BELOW_ALL = 1e4


class FixedProbabilities(ParticipationScheme):
    """Draws a cohort client by client with probabilities proportional to p among those not yet drawn.

    ``correction = "inverse-inclusion"`` divides a client's weight by its probability pi_i of being in a
    cohort (Horvitz and Thompson 1952), which is not m p_i and is estimated by simulation. Where a method
    divides by the sum of the weights, its mean is the ratio estimator, whose bias is of order 1 / m.
    """

    correction: Literal["none", "inverse-inclusion"] = "none"

    _log_p: FloatArray
    _facts: Facts

    def select(self, selection: SelectionContext) -> npt.NDArray[np.int64]:
        """Draw a cohort."""
        return gumbel_top(self._log_p, selection.cohort_size, selection.generator)

    def probabilities(self) -> FloatArray:
        """Return p."""
        probabilities: FloatArray = np.exp(self._log_p)
        return probabilities

    def inclusion(self) -> FloatArray:
        """Return the estimated pi."""
        return self._inclusion

    @functools.cached_property
    def _inclusion(self) -> FloatArray:
        possible = np.isfinite(self._log_p)
        log_p = np.where(possible, self._log_p, self._log_p[possible].min() - _BELOW_ALL)
        return inclusion_probabilities(log_p, self._facts.cohort_size, self._facts.generator)

    def weights(self) -> FloatArray | None:
        """Return 1 / pi if ``correction`` asks for it."""
        return None if self.correction == "none" else correcting_weights(self._inclusion)
