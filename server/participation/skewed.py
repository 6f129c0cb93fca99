"""Some clients are called much more often than others: unequal probabilities that stay for the whole run."""

import functools
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from common.dirichlet import log_dirichlet_weights
from server.participation._sampling import gumbel_top, inclusion_probabilities
from server.participation._scheme import Facts, FloatArray, ParticipationScheme, SelectionContext

_LEAST = 1e-200


class Skewed(ParticipationScheme):
    """Draws p ~ Dir(gamma, ..., gamma) over the clients once, then cohorts without replacement from p.

    A cohort is drawn client by client with probabilities proportional to p among those not yet drawn. A
    small gamma means much skew; for gamma → ∞ it is uniform participation. p lives in log space: for
    gamma = 0.05 most entries are below 1e-20, and many too small for floating point.

    Weights of the method stay as they are, so that the global model is biased towards the active clients.
    ``correction = "inverse-inclusion"`` divides a client's weight by its probability pi_i of being in a
    cohort (Horvitz and Thompson 1952), which is not m p_i and is estimated by simulation.
    """

    gamma: Annotated[float, Field(gt=0)] = 1.0
    correction: Literal["none", "inverse-inclusion"] = "none"

    def prepare(self, facts: Facts) -> None:
        """Draw p."""
        log_weights = log_dirichlet_weights(np.full(facts.num_clients, self.gamma), facts.generator)
        self._log_p = log_weights - np.logaddexp.reduce(log_weights)
        self._facts = facts

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
        return inclusion_probabilities(self._log_p, self._facts.cohort_size, self._facts.generator)

    def weights(self) -> FloatArray | None:
        """Return 1 / pi if that is asked for."""
        if self.correction == "none":
            return None
        # A client whose probability is below that is never drawn; its weight times n_i stays finite.
        return 1 / np.maximum(self._inclusion, _LEAST)
