"""FedRep (Collins et al. 2021, Algorithm 1): first the personal head with the body frozen, then the body.

arXiv:2102.07078.
"""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from clients.fedper import FedPer
from common.errors import UserError
from models.heads.parts import check_parts


class FedRep(FedPer):
    """Spends ``personal_share`` of the round's steps on the personal part and the rest on the shared one.

    The paper's CIFAR runs have 10 epochs for the head and 1 for the body (10 / 11). A share strictly between
    0 and 1 leaves at least one step for each part; a client that makes only one step, as a straggler or for
    lack of samples, trains both parts in it. 0 keeps the personal part at its initial values.
    """

    personal_share: Annotated[float, Field(ge=0, le=1)] = 0.5

    def validate(self) -> None:
        """Refuse rounds without at least one step for each part."""
        super().validate()
        config = self.worker.config
        if self.personal_share < 1:
            check_parts(self.worker.model, "method.personal-part", self.personal_part, trains_rest=True)
        if 0 < self.personal_share < 1 and config.local.steps == 1 and config.steps.rule == "fixed":
            raise UserError(
                f"'{config.method.name}' trains the personal part and then the shared one, which takes two"
                " local steps: set local.steps = 2 or more, method.personal-share = 0 or 1, or"
                " method.name = 'fedsim', which trains both at once"
            )

    def begin_round(self) -> None:
        """Split the budget and the parameters."""
        steps, personal = self.step_budget, self.personal_names()
        self.personal_steps = round(self.personal_share * steps)
        if 0 < self.personal_share < 1 and steps > 1:
            self.personal_steps = min(max(self.personal_steps, 1), steps - 1)
        self.phases = (set(self.params) & set(personal), set(self.params) - set(personal))
        if 0 < self.personal_share < 1 and steps == 1:
            self.phases = (set(self.params), set(self.params))

    def trained_names(self) -> Collection[str]:
        """Return the personal parameters in the first steps, the shared ones afterwards."""
        return self.phases[0 if self.num_steps < self.personal_steps else 1]
