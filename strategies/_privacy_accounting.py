"""Privacy accounting: the epsilon that a run has spent, by Rényi differential privacy (Mironov 2017)."""

from typing import Literal

import numpy as np
import numpy.typing as npt

Relation = Literal["replace-one", "zero-out"]


class Accountant:
    """The epsilon of a run as a function of its number of rounds.

    Each round releases a sum of vectors of norm at most S over m of K clients, with Gaussian noise of
    standard deviation z S. Two populations are neighbours if they differ in all data of one client, which

    - is replaced by another client (``replace-one``): the sum moves by up to 2 S, so the Gaussian mechanism
      has noise multiplier z / 2, amplified by sampling without replacement where `amplified` says so (Wang,
      Balle and Kasiviswanathan 2019, Theorem 27);
    - contributes nothing (``zero-out``; with all clients in every round that is add-or-remove): the sum moves
      by up to S, and no amplification is claimed, since none is known for cohorts of fixed size.

    Parameters
    ----------
    noise_multiplier : float
        z, above 0.
    cohort_size, num_clients : int
        m and K.
    amplified : bool
        Whether each cohort is drawn uniformly, without replacement and independently.
    relation : {"replace-one", "zero-out"}
        Which populations are neighbours.
    delta : float
        The delta for which epsilon is stated.
    """

    def __init__(
        self,
        noise_multiplier: float,
        cohort_size: int,
        num_clients: int,
        amplified: bool,
        relation: Relation,
        delta: float,
    ) -> None:
        # Imported here: it takes a second, and most runs have no privacy.
        from dp_accounting import GaussianDpEvent, SampledWithoutReplacementDpEvent, rdp

        replaces = relation == "replace-one"
        event = GaussianDpEvent(noise_multiplier / 2 if replaces else noise_multiplier)
        self._orders, self._rdp = _renyi_divergences(event)
        if replaces and amplified and cohort_size < num_clients:
            sampled = SampledWithoutReplacementDpEvent(num_clients, cohort_size, event)
            # Sampling never costs privacy, but the theorem's bound may exceed the mechanism's own.
            self._rdp = np.minimum(self._rdp, _renyi_divergences(sampled)[1])
        self._compute_epsilon = rdp.compute_epsilon
        self.delta = delta

    def epsilon(self, num_rounds: int) -> float:
        """Return the epsilon of `num_rounds` rounds at ``delta``."""
        if num_rounds == 0:
            return 0.0
        return float(self._compute_epsilon(self._orders, num_rounds * self._rdp, self.delta)[0])


def _renyi_divergences(event: object) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return orders, and the Rényi divergence at each of them after one `event`."""
    from dp_accounting import NeighboringRelation, rdp

    accountant = rdp.RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    accountant.compose(event)
    return accountant.orders, accountant.rdp
