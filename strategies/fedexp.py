"""FedExP (Jhunjhunwala, Wang and Joshi, ICLR 2023, arXiv:2301.09604): a server step by extrapolation."""

from common.norms import squared_norm
from common.records import ARRAYS, Payload, Tensors
from common.sections import NonNegativeFloat
from strategies.fedavg import FedAvg


class FedExp(FedAvg):
    """x <- x + eta Delta with eta = max(1, sum_i p_i ||d_i||^2 / (2 (||Delta||^2 + epsilon))) (Eq. 3).

    d_i = y_i - x is a client's change, Delta = sum_i p_i d_i. Where changes agree, or one client takes part,
    eta = 1 and this is FedAvg. Norms are over all trainable entries. The authors' code multiplies epsilon by
    the number of the round's clients and by the square of the decay of their learning rate. metrics.csv has
    eta as ``server_learning_rate``, and the accuracy of the mean of the last two models, the paper's result,
    unless ``evaluate_mean`` is false.
    """

    COLUMNS = ("server_learning_rate",)
    PAST_MODELS = ("previous",)

    epsilon: NonNegativeFloat = 0.001
    evaluate_mean: bool = True

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.previous: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: the step depends on their lengths."""
        return True

    def why_not_private(self) -> str:
        """Return the reason: the noise does not cover lengths."""
        return "whose step depends on the length of each client's change"

    def transform_reply(self, sections: Payload) -> Payload:
        """Add ||d_i||^2, of which the mean is taken as well."""
        model = sections[ARRAYS]
        change = {name: model[name] - self.global_model[name] for name in self.parameter_names}
        return {**sections, "squared-length": {"": squared_norm(change)}}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step beyond the mean."""
        change, mean = self.mean_change(averages), float(averages["squared-length"][""])
        rate = max(1.0, mean / max(2 * (float(squared_norm(change)) + self.epsilon), 1e-300))
        self.round_metrics = {"server_learning_rate": rate}
        if self.evaluate_mean:
            self.previous = {name: self.global_model[name] for name in self.parameter_names}
        return self.stepped(averages, {name: rate * value for name, value in change.items()})

    def variants(self, model: Tensors) -> dict[str, Tensors]:
        """Return the mean of the last two models."""
        mean = {name: (model[name] + value) / 2 for name, value in self.previous.items()}
        return {"averaged": mean} if mean else {}
