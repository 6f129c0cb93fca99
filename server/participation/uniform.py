"""Every subset of the cohort's size is equally likely."""

import numpy as np
import numpy.typing as npt

from server.participation._scheme import Facts, FloatArray, ParticipationScheme, SelectionContext


class Uniform(ParticipationScheme):
    """Draws clients uniformly, without replacement."""

    def begin_run(self, facts: Facts) -> None:
        """Record the number of clients."""
        self._num_clients, self._cohort_size = facts.num_clients, facts.cohort_size

    def select(self, selection: SelectionContext) -> npt.NDArray[np.int64]:
        """Draw a cohort."""
        return selection.generator.choice(selection.num_clients, size=selection.cohort_size, replace=False)

    def probabilities(self) -> FloatArray:
        """Return 1 / K."""
        return np.full(self._num_clients, 1 / self._num_clients)

    def inclusion(self) -> FloatArray:
        """Return m / K."""
        return np.full(self._num_clients, self._cohort_size / self._num_clients)
