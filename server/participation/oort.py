"""Oort: clients with a high utility for the model that are fast enough (Lai et al., OSDI 2021)."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from server.participation._sampling import gumbel_top
from server.participation._scheme import Facts, Feedback, FloatArray, ParticipationScheme, SelectionContext


class Oort(ParticipationScheme):
    """Explores clients that were never called, and exploits those with the largest utilities.

    The statistical utility of a client is n_i sqrt(mean of its squared sample losses) in its last round,
    clipped at a percentile of all. In round r, sqrt(0.1 ln(r) / l_i) is added for a client last called in
    round l_i; the sum is multiplied by (T / t_i)^penalty if its job took t_i > T virtual seconds. Of a
    cohort of m, exploration * decay^(r - 1) m clients, at least exploration-min m, are unexplored ones, drawn
    uniformly. The others are drawn in proportion to their utility, among those that reach ``cut-off`` times
    the utility of the last client that a ranking would take. The pacer begins with T = ``pacer-step``, and
    adds ``pacer-step`` after every ``pacer-window`` rounds with a smaller sum of utilities than the window
    before.

    Without ``clock.*`` all jobs take a second. Public implementations use other constants.
    """

    exploration: Annotated[float, Field(ge=0, le=1)] = 0.9
    exploration_decay: Annotated[float, Field(gt=0, le=1)] = 0.98
    exploration_min: Annotated[float, Field(ge=0, le=1)] = 0.2
    penalty: Annotated[float, Field(ge=0, le=100)] = 2.0
    cut_off: Annotated[float, Field(ge=0, le=1)] = 0.95
    clip_percentile: Annotated[float, Field(ge=0, le=100)] = 95.0
    pacer_step: Annotated[float, Field(gt=0)] = 1.0
    pacer_window: Annotated[int, Field(ge=1)] = 20

    def begin_run(self, facts: Facts) -> None:
        """Start with no client explored."""
        self._utility = np.zeros(facts.num_clients)
        self._last = np.zeros(facts.num_clients, dtype=np.int64)  # 0: unexplored
        self._seconds = np.ones(facts.num_clients)
        self._totals: list[float] = []  # of the utilities of each round
        self._num_examples = np.ones(facts.num_clients, dtype=np.int64)

    def select(self, selection: SelectionContext) -> npt.NDArray[np.int64]:
        """Draw a cohort."""
        self._num_examples = selection.num_examples
        size, generator = selection.cohort_size, selection.generator
        explored, unexplored = np.flatnonzero(self._last), np.flatnonzero(self._last == 0)
        share = max(
            self.exploration_min,
            self.exploration * self.exploration_decay ** (selection.server_round - 1),
        )
        explore = min(max(round(share * size), size - len(explored)), len(unexplored))
        new = generator.choice(unexplored, size=explore, replace=False)
        if explore == size:
            return new
        values = self._values(explored, selection.server_round)
        limit = self.cut_off * np.partition(values, explore - size)[explore - size]
        able = np.flatnonzero(values >= limit)
        log_values = np.log(np.maximum(values[able], np.finfo(np.float64).tiny))
        known = explored[able[gumbel_top(log_values, size - explore, generator)]]
        return np.concatenate([new, known])

    def _values(self, clients: npt.NDArray[np.int64], server_round: int) -> FloatArray:
        utility = self._utility[clients]
        clipped = np.minimum(utility, np.percentile(utility, self.clip_percentile))
        sums = clipped + staleness_bonus(server_round, self._last[clients])
        return sums * system_penalty(self._seconds[clients], self.preferred_seconds, self.penalty)

    @property
    def preferred_seconds(self) -> float:
        """T."""
        window = self.pacer_window
        sums = [
            sum(self._totals[start : start + window])
            for start in range(0, len(self._totals) - window + 1, window)
        ]
        return self.pacer_step * (1 + sum(before > after for before, after in itertools.pairwise(sums)))

    def observe(self, server_round: int, feedback: Mapping[int, Feedback]) -> None:
        """Record losses and durations of a round."""
        total = 0.0
        for client, seen in feedback.items():
            squared = seen.metrics.get("train_squared_loss", seen.metrics["train_loss"] ** 2)
            self._utility[client] = statistical_utility(int(self._num_examples[client]), squared)
            self._last[client], self._seconds[client] = server_round, seen.seconds
            total += float(self._utility[client])
        self._totals.append(total)

    def state(self) -> dict[str, Any]:
        """Return what is known of the explored clients, and the sums of utilities."""
        clients = np.flatnonzero(self._last)
        return {
            "clients": clients.tolist(),
            "utility": self._utility[clients].tolist(),
            "last": self._last[clients].tolist(),
            "seconds": self._seconds[clients].tolist(),
            "totals": self._totals,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        clients = np.array(state.get("clients", []), dtype=np.int64)
        for name in ("utility", "last", "seconds"):
            vars(self)[f"_{name}"][clients] = state.get(name, [])
        self._totals = list(state.get("totals", []))


def statistical_utility(num_examples: int, mean_squared_loss: float) -> float:
    """Return n sqrt(mean loss^2)."""
    return num_examples * float(np.sqrt(mean_squared_loss))


def system_penalty(seconds: FloatArray, preferred: float, exponent: float) -> FloatArray:
    """Return (T / t)^exponent for jobs that take t > T seconds, 1 for others."""
    factors: FloatArray = np.minimum(preferred / np.maximum(seconds, 1e-300), 1.0) ** exponent
    return factors


def staleness_bonus(server_round: int, last: npt.NDArray[np.int64]) -> FloatArray:
    """Return sqrt(0.1 ln(r) / l) for clients that were last called in round l."""
    bonus: FloatArray = np.sqrt(0.1 * np.log(server_round) / last)
    return bonus
