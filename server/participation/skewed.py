"""Some clients are called much more often than others: unequal probabilities, fixed for the run."""

from typing import Annotated

import numpy as np
from pydantic import Field

from common.dirichlet import log_dirichlet_weights
from server.participation._fixed import FixedProbabilities
from server.participation._scheme import Facts


class Skewed(FixedProbabilities):
    """Draws p ~ Dir(gamma, ..., gamma) over the clients once, then cohorts without replacement from p.

    A small gamma means much skew; gamma → ∞ is uniform participation. p is kept in log space: with gamma =
    0.05 most entries are below 1e-20, and many too small for floating point. Without a ``correction`` the
    weights of the method do not change, so that the global model is biased towards the active clients.
    """

    gamma: Annotated[float, Field(gt=0)] = 1.0

    def begin_run(self, facts: Facts) -> None:
        """Draw p."""
        log_weights = log_dirichlet_weights(np.full(facts.num_clients, self.gamma), facts.generator)
        self._log_p = log_weights - np.logaddexp.reduce(log_weights)
        self._facts = facts
