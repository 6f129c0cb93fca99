"""Clients that fared badly when they last took part are called more often."""

import numpy as np
import numpy.typing as npt

from server.participation._sampling import gumbel_top
from server.participation._scheme import ParticipationScheme, SelectionContext


class LossProportional(ParticipationScheme):
    """Draws without replacement with probabilities proportional to the clients' last training losses.

    A client whose loss is not known yet counts with the largest known one.
    """

    remembers_losses = True

    def select(self, selection: SelectionContext) -> npt.NDArray[np.int64]:
        """Draw a cohort."""
        losses = np.full(selection.num_clients, max(selection.known_losses.values(), default=1.0))
        known = len(selection.known_losses)
        clients = np.fromiter(selection.known_losses.keys(), dtype=np.int64, count=known)
        losses[clients] = np.fromiter(selection.known_losses.values(), dtype=np.float64, count=known)
        log_weights = np.log(np.maximum(losses, np.finfo(np.float64).tiny))
        return gumbel_top(log_weights, selection.cohort_size, selection.generator)
