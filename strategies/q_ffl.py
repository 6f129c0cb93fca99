"""q-FFL's server half: q-FedAvg (Li et al., ICLR 2020, arXiv:1905.10497, Algorithm 2)."""

from flwr.app import Message

from common.norms import squared_norm
from common.records import ARRAYS, Payload, Tensors, metrics_record
from common.sections import NonNegativeFloat
from strategies.fedavg import FedAvg

_EPSILON = 1e-10  # added to every loss, as in the authors' code: powers of 0 may be infinite


class QFFL(FedAvg):
    """Minimises sum_k p_k F_k^{q + 1} / (q + 1): clients with a high loss count more; q = 0 is FedAvg.

    x <- x - sum_k p_k Delta_k / sum_k p_k h_k with Delta_k = F_k^q L (x - y_k) and h_k = q F_k^{q - 1}
    ||L (x - y_k)||^2 + L F_k^q; L = 1 / lr. The paper samples clients with probability p_k = n_k / n and
    weights them equally; here they are weighted. Buffers are averaged.
    """

    TRANSIENT = ("_rate",)
    SECTIONS = frozenset({ARRAYS, "loss"})

    q: NonNegativeFloat = 1.0

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._rate = 0.0

    def measures_changes(self) -> bool:
        """Return True: the length of the step depends on the lengths of the changes."""
        return True

    def before_reply(self, reply: Message) -> None:
        """Record the client's learning rate."""
        self._rate = float(metrics_record(reply.content)["learning-rate"])  # type: ignore[arg-type]

    def transform_reply(self, sections: Payload) -> Payload:
        """Return the model, -Delta_k and h_k; at a learning rate of 0, Delta_k is 0."""
        model, lipschitz = sections[ARRAYS], 1 / self._rate if self._rate > 0 else 1.0
        loss = sections["loss"]["at-start"].double() + _EPSILON
        change = {
            name: lipschitz * (model[name].double() - self.global_model[name])
            for name in self.parameter_names
        }
        curvature = self.q * loss ** (self.q - 1) * squared_norm(change) + lipschitz * loss**self.q
        scaled = {name: loss**self.q * value for name, value in change.items()}
        return {ARRAYS: model, "change": scaled, "curvature": {"h": curvature}}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step by the ratio of the two sums."""
        h = averages["curvature"]["h"]
        return self.stepped(averages, {name: value / h for name, value in averages["change"].items()})
