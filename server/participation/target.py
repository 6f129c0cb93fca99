"""Clients whose labels are like those of a target population are called more often."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from common.dirichlet import log_dirichlet_weights
from server.participation._fixed import FixedProbabilities
from server.participation._labels import label_distributions
from server.participation._scheme import Facts, FloatArray

_EPSILON = 1e-8


class Target(FixedProbabilities):
    """Draws cohorts without replacement from p_i proportional to exp(-sharpness KL(P_i || t)).

    P_i is the label distribution of client i, the target t a mixture of all of them with weights from
    Dir(alpha), drawn once (code of Bao, Crawshaw and Liu, ICML 2024). A client without data is called last.
    """

    looks_at_labels = True

    alpha: Annotated[float, Field(gt=0)] = 1.0
    sharpness: Annotated[float, Field(ge=0)] = 5.0

    def begin_run(self, facts: Facts) -> None:
        """Draw the mixture."""
        log_weights = log_dirichlet_weights(np.full(facts.num_clients, self.alpha), facts.generator)
        self._facts = facts
        self._mixture = np.exp(log_weights - np.logaddexp.reduce(log_weights))

    def take_label_counts(self, label_counts: npt.NDArray[np.int64]) -> None:
        """Compute p."""
        labels = label_distributions(label_counts, "target")
        sizes = label_counts.sum(axis=1)
        log_weights = -self.sharpness * divergence(labels, target(labels, self._mixture * (sizes > 0)))
        log_weights[sizes == 0] = -np.inf
        self._log_p = log_weights - np.logaddexp.reduce(log_weights)


def target(labels: FloatArray, mixture: FloatArray) -> FloatArray:
    """Return t, the mean of label distributions, shape (clients, classes), by the weights `mixture`."""
    mean: FloatArray = mixture @ labels / mixture.sum()
    return mean


def divergence(labels: FloatArray, target: FloatArray) -> FloatArray:
    """Return KL(P_i || t) = sum_c P_i(c) log(P_i(c) / t(c)) by client; t and the ratio are at least 1e-8."""
    ratios = labels / np.maximum(target, _EPSILON)
    total: FloatArray = (labels * np.log(np.maximum(ratios, _EPSILON))).sum(axis=1)
    return total
