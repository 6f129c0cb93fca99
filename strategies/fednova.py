"""FedNova's server half (Wang et al. 2020, Eq. 10): averages changes normalised by local work.

arXiv:2007.07481.
"""

from typing import Literal

from common.records import ARRAYS, Payload, Tensors
from strategies.fedavg import FedAvg


class FedNova(FedAvg):
    """x <- x - tau_eff sum_i p_i d_i with d_i = (x - y_i) / ||a_i||_1.

    ``effective_steps`` is how tau_eff averages: ``norm`` = sum_i p_i ||a_i||_1 (the authors' code), or
    ``steps`` = sum_i p_i tau_i (the paper). With equal work on all clients ``norm`` is FedAvg.
    """

    SECTIONS = frozenset({ARRAYS, "effort"})
    effective_steps: Literal["norm", "steps"] = "norm"

    def measures_changes(self) -> bool:
        """Return True: changes are divided by local work."""
        return True

    def transform_reply(self, sections: Payload) -> Payload:
        """Add -d_i to the reply."""
        norm, arrays = sections["effort"]["norm"], sections[ARRAYS]
        change = {n: (arrays[n].double() - self.global_model[n]) / norm for n in self.parameter_names}
        return {**sections, "change": change}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step by the average direction, scaled by the average work."""
        tau = averages["effort"][self.effective_steps]
        return self.stepped(averages, {name: tau * change for name, change in averages["change"].items()})
