"""FedRep (Collins et al. 2021, Algorithm 1): first the personal head with the body frozen, then the body.

arXiv:2102.07078.
"""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from clients.fedper import FedPer


class FedRep(FedPer):
    """Spends ``personal_share`` of the round's steps on the personal part and the rest on the shared one.

    The paper's CIFAR runs have 10 epochs for the head and 1 for the body (10 / 11). A share strictly between
    0 and 1 leaves at least one step to each part. 0 keeps the personal part as it is initially.
    """

    personal_share: Annotated[float, Field(ge=0, le=1)] = 0.5

    def begin_round(self) -> None:
        """Split the budget and the parameters."""
        steps, personal = self.step_budget, self.personal_names()
        self.personal_steps = round(self.personal_share * steps)
        if 0 < self.personal_share < 1 and steps > 1:
            self.personal_steps = min(max(self.personal_steps, 1), steps - 1)
        self.phases = (set(self.params) & set(personal), set(self.params) - set(personal))

    def trained_names(self) -> Collection[str]:
        """Return the personal parameters in the first steps, the shared ones afterwards."""
        return self.phases[0 if self.num_steps < self.personal_steps else 1]
