"""FedDyn's server half (Acar et al. 2021, arXiv:2111.04263, Algorithm 1)."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from common.config import Config
from common.records import ARRAYS, Payload, Tensors
from strategies._client_means import ClientMean


class FedDyn(ClientMean):
    """h <- h - alpha sum_i p_i (y_i - x); x <- mean_i(y_i) - h / alpha; p_i = 1 / K, or n_i / N by examples.

    So h is the mean of all clients' h_i (``ClientMean``). With ``privacy.*`` h is updated with the private
    mean of the changes instead, with p_i = 1 / K.
    """

    CHANGES = "trained"
    REDUCTION = "step"
    REMARK_ON_PRIVACY = (
        "FedDyn's state on the server follows the clipped and noisy mean, that of the clients their exact"
        " changes: it no longer ends at the optimum"
    )

    alpha: Annotated[float, Field(gt=0, le=1e6)] = 0.01
    weighting: Literal["examples", "uniform"] = "uniform"

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self.linear: Tensors = {}

    def measures_changes(self) -> bool:
        """Return True: h accumulates changes."""
        return True

    def divergence_advice(self, config: Config) -> Iterator[str]:
        """Name alpha."""
        yield f"h adds up all changes and is divided by method.alpha = {self.alpha:g}: raise it to damp them."

    def transform_reply(self, sections: Payload) -> Payload:
        """Add a section for h, which is averaged with other weights than the model."""
        model = sections[ARRAYS]
        if self.privacy is not None:
            return {ARRAYS: model}
        return {ARRAYS: model, self.CHANGES: {name: model[name] for name in self.parameter_names}}

    def update(self, averages: Payload, server_round: int) -> Tensors:
        """Step the model and h."""
        change = self.mean_change(averages)
        if self.privacy is None:
            trained = averages[self.CHANGES].items()
            changes = {name: value - self.global_model[name] for name, value in trained}
            self.linear = self.moved(self.linear, changes, -self.alpha)
        else:
            share = self.alpha * self.privacy.cohort_size / self.num_clients
            self.linear = {name: self.linear.get(name, 0) - share * d for name, d in change.items()}
        return self.stepped(
            averages, {name: d - self.linear[name] / self.alpha for name, d in change.items()}
        )
