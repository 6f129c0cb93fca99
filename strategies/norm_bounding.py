"""Norm bounding (Sun, Kairouz, Suresh and McMahan 2019, arXiv:1911.07963, section 4.2)."""

from typing import Annotated, ClassVar

from pydantic import Field

from common.norms import norm
from common.records import ARRAYS, Payload
from common.sections import Value
from strategies.fedavg import FedAvg


class NormBounding(FedAvg):
    """x <- x + mean_k d_k min(1, M / ||d_k||), with d_k = y_k - x and M the ``bound``.

    Norms are over all trainable entries; the others are averaged as they are. ``privacy.*`` does the same and
    adds noise.
    """

    EXAMPLE: ClassVar[dict[str, Value]] = {"method.bound": 0.05}
    REDUCTION = "step"

    bound: Annotated[float, Field(gt=0)] = 1.0

    def measures_changes(self) -> bool:
        """Return True: changes are bounded."""
        return True

    def why_not_private(self) -> str:
        """Return the reason: ``privacy.*`` has its own bound."""
        return "which bounds changes itself"

    def transform_reply(self, sections: Payload) -> Payload:
        """Scale the change down to the bound."""
        model = sections[ARRAYS]
        changes = {name: (model[name] - self.global_model[name]).double() for name in self.parameter_names}
        length = float(norm(changes))
        if length <= self.bound:
            return sections
        bounded = {
            name: (self.global_model[name] + change * (self.bound / length)).to(model[name].dtype)
            for name, change in changes.items()
        }
        return {**sections, ARRAYS: {**model, **bounded}}
