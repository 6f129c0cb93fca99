"""One client of each group of clients with similar labels."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering

from common.errors import UserError
from server.participation._scheme import Facts, FloatArray, ParticipationScheme, SelectionContext


class Clustered(ParticipationScheme):
    """Divides the clients into m groups by their label distributions, and draws one of each, all alike.

    m is the size of a cohort; groups are those of Ward's hierarchical clustering, as in clustered sampling
    (Fraboni et al., ICML 2021, section 5), which groups by updates and draws from mixtures of groups. A
    client is in a cohort with probability 1 over the size of its group. ``correction = "inverse-inclusion"``
    multiplies its weight by that size, so that no group counts less than its clients do.
    """

    looks_at_labels = True

    correction: Literal["none", "inverse-inclusion"] = "none"

    def prepare(self, facts: Facts) -> None:
        """Take note of the number of groups."""
        self._num_clients, self._num_groups = facts.num_clients, facts.cohort_size
        self._groups = np.zeros(facts.num_clients, dtype=np.int64)

    def setup(self, label_counts: npt.NDArray[np.int64]) -> None:
        """Find the groups, numbered by their first clients."""
        sizes = label_counts.sum(axis=1)
        if not sizes.any():
            raise UserError("participation.name 'clustered' needs data with a label per sample")
        if self._num_groups in (1, self._num_clients):
            self._groups = np.arange(self._num_clients) % self._num_groups
            return
        labels = label_counts / np.maximum(sizes, 1)[:, np.newaxis]
        found = AgglomerativeClustering(n_clusters=self._num_groups, linkage="ward").fit(labels).labels_
        _, first, groups = np.unique(found, return_index=True, return_inverse=True)
        self._groups = np.argsort(np.argsort(first))[groups]

    def select(self, selection: SelectionContext) -> list[int]:
        """Draw one client of each group."""
        members = (np.flatnonzero(self._groups == group) for group in range(self._num_groups))
        return [int(selection.generator.choice(group)) for group in members]

    def inclusion(self) -> FloatArray:
        """Return 1 over the size of the client's group."""
        return 1 / np.bincount(self._groups, minlength=self._num_groups)[self._groups].astype(np.float64)

    def weights(self) -> FloatArray | None:
        """Return the size of the client's group if that is asked for."""
        return None if self.correction == "none" else 1 / self.inclusion()
