"""One client of each group of similar clients, by their labels or by the changes of their models."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.cluster import AgglomerativeClustering

from server.participation._labels import label_distributions
from server.participation._scheme import Facts, Feedback, FloatArray, ParticipationScheme, SelectionContext

_EPSILON = 1e-300


class Clustered(ParticipationScheme):
    """Divides the clients into m groups by ``similarity``, and draws one client of each, uniformly.

    m is the size of a cohort; the groups come from Ward's hierarchical clustering, as in clustered sampling
    (Fraboni et al., ICML 2021, section 5), which draws from mixtures of groups. ``labels`` clusters the label
    distributions. ``updates`` clusters the directions of the last changes of the clients' models, in every
    round; clients without a known change, and all clients until m changes are known, are dealt to the groups
    in turn. A client is in a cohort with probability 1 over the size of its group. ``correction =
    "inverse-inclusion"`` multiplies its weight by that size, so that groups count in proportion to their
    clients.
    """

    similarity: Literal["labels", "updates"] = "labels"
    correction: Literal["none", "inverse-inclusion"] = "none"

    def begin_run(self, facts: Facts) -> None:
        """Set the number of groups."""
        self._num_clients, self._num_groups = facts.num_clients, facts.cohort_size
        self._groups = np.arange(facts.num_clients) % facts.cohort_size
        self._changes: dict[int, FloatArray] = {}
        self.looks_at_labels = self.similarity == "labels"
        self.remembers_updates = not self.looks_at_labels

    def take_label_counts(self, label_counts: npt.NDArray[np.int64]) -> None:
        """Find the groups, numbered by their first clients."""
        if not self.looks_at_labels:
            return
        labels = label_distributions(label_counts, "clustered")
        if self._num_groups not in (1, self._num_clients):
            self._groups = self._divided(labels)

    def _divided(self, points: FloatArray) -> npt.NDArray[np.int64]:
        """Return the groups of points, shape (clients, values)."""
        found = AgglomerativeClustering(n_clusters=self._num_groups, linkage="ward").fit(points).labels_
        _, first, groups = np.unique(found, return_index=True, return_inverse=True)
        numbered: npt.NDArray[np.int64] = np.argsort(np.argsort(first))[groups]
        return numbered

    def observe(self, server_round: int, feedback: Mapping[int, Feedback]) -> None:
        """Record the directions of a round's changes, and cluster the clients for the next round."""
        if self.looks_at_labels:
            return
        self._changes |= {
            client: seen.change / max(float(np.linalg.norm(seen.change)), _EPSILON)
            for client, seen in feedback.items()
        }
        self._regroup()

    def _regroup(self) -> None:
        if len(self._changes) < self._num_groups or self._num_groups == 1:
            return
        known = np.array(sorted(self._changes))
        unknown = np.setdiff1d(np.arange(self._num_clients), known)
        self._groups[unknown] = np.arange(len(unknown)) % self._num_groups
        self._groups[known] = self._divided(np.stack([self._changes[int(client)] for client in known]))

    def state(self) -> dict[str, Any]:
        """Return the known changes."""
        return {str(client): change.tolist() for client, change in self._changes.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self._changes = {int(client): np.array(change) for client, change in state.items()}
        self._regroup()

    def select(self, selection: SelectionContext) -> list[int]:
        """Draw one client of each group."""
        members = (np.flatnonzero(self._groups == group) for group in range(self._num_groups))
        return [int(selection.generator.choice(group)) for group in members]

    def inclusion(self) -> FloatArray:
        """Return 1 over the size of the client's group."""
        return 1 / np.bincount(self._groups, minlength=self._num_groups)[self._groups].astype(np.float64)

    def weights(self) -> FloatArray | None:
        """Return the size of the client's group if ``correction`` asks for it."""
        return None if self.correction == "none" else 1 / self.inclusion()
