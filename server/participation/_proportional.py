"""Schemes that draw clients in proportion to a value from their last round."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from server.participation._sampling import correcting_weights, gumbel_top, inclusion_probabilities
from server.participation._scheme import FloatArray, ParticipationScheme, SelectionContext


class Proportional(ParticipationScheme):
    """Draws without replacement with probabilities proportional to the ``known`` values of the clients.

    A client without a value counts with the largest known one. ``correction =
    "inverse-inclusion"`` divides a client's weight by its probability of being in this round's cohort, which
    is estimated by simulation.
    """

    correction: Literal["none", "inverse-inclusion"] = "none"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._inclusion: FloatArray = np.ones(0)

    def known(self, selection: SelectionContext) -> Mapping[int, float]:
        """Return client id → value, at least 0."""
        raise NotImplementedError

    def select(self, selection: SelectionContext) -> npt.NDArray[np.int64]:
        """Draw a cohort."""
        log_weights = np.log(np.maximum(self._values(selection), np.finfo(np.float64).tiny))
        chosen = gumbel_top(log_weights, selection.cohort_size, selection.generator)
        if self.correction != "none":
            self._inclusion = inclusion_probabilities(log_weights, selection.cohort_size, selection.generator)
        return chosen

    def _values(self, selection: SelectionContext) -> FloatArray:
        known = self.known(selection)
        values = np.full(selection.num_clients, max(known.values(), default=1.0))
        clients = np.fromiter(known.keys(), dtype=np.int64, count=len(known))
        values[clients] = np.fromiter(known.values(), dtype=np.float64, count=len(known))
        return values

    def weights(self) -> FloatArray | None:
        """Return 1 / pi of the last cohort, if ``correction`` asks for it."""
        return None if self.correction == "none" else correcting_weights(self._inclusion)
