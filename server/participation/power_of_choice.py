"""Power-of-choice: of some random candidates, those with the largest losses of the global model."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from common.errors import UserError
from server.participation._sampling import gumbel_top
from server.participation._scheme import Facts, ParticipationScheme, SelectionContext


class PowerOfChoice(ParticipationScheme):
    """Cho, Wang and Joshi, "Client Selection in Federated Learning" (2020), Algorithm 1.

    d candidates are drawn without replacement with probabilities proportional to their number of samples;
    the m with the largest losses of the current global model form the cohort, and their replies have
    equal weights. d = m is random selection weighted by the samples.

    ``pow-d`` asks the candidates for the loss on all their training data, ``cpow-d`` for that on one
    mini-batch; ``rpow-d`` asks no client: it takes the training loss of a client's last round, infinity
    before the first.
    """

    aggregates_uniformly = True
    looks_at_clients = True

    candidates: Annotated[int, Field(ge=0)] = 0
    variant: Literal["pow-d", "cpow-d", "rpow-d"] = "pow-d"

    def begin_run(self, facts: Facts) -> None:
        """Set d: by default twice the size of the cohort, at most the number of clients."""
        self.remembers_losses = self.variant == "rpow-d"
        self._num_candidates = self.candidates or min(2 * facts.cohort_size, facts.num_clients)
        if not facts.cohort_size <= self._num_candidates <= facts.num_clients:
            raise UserError(
                f"participation.candidates must lie between the cohort's size ({facts.cohort_size}) and"
                f" clients.count ({facts.num_clients}), got {self.candidates}"
            )

    def select(self, selection: SelectionContext) -> list[int]:
        """Draw candidates and keep those with the largest losses."""
        log_sizes = np.log(np.maximum(selection.num_examples, 1))
        drawn = gumbel_top(log_sizes, self._num_candidates, selection.generator)
        candidates = sorted(int(client) for client in drawn)
        if len(candidates) == selection.cohort_size:
            return candidates
        if self.variant == "rpow-d":
            losses = {client: selection.known_losses.get(client, math.inf) for client in candidates}
        else:
            losses = dict(selection.ask_losses(candidates, self.variant == "cpow-d"))
        return largest(losses, selection.cohort_size)


def largest(losses: Mapping[int, float], size: int) -> list[int]:
    """Return the clients with the `size` largest losses; of equal ones, those with the smaller ids."""
    return sorted(losses, key=lambda client: (-losses[client], client))[:size]
