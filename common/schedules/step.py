"""Step decay."""

from typing import Annotated

from pydantic import Field

from common.errors import UserError
from common.schedules import Schedule


class Step(Schedule):
    """Multiplies by ``gamma`` every ``step_rounds`` rounds."""

    depends_on_length = False

    gamma: Annotated[float, Field(gt=0, le=1000)] = 0.1
    step_rounds: Annotated[int, Field(ge=0)] = 0

    def check(self) -> None:
        """Refuse a missing ``step_rounds``, which has no useful default."""
        if self.step_rounds == 0:
            raise UserError("schedule.name 'step' needs schedule.step-rounds above 0")

    def by_round(self, elapsed: int, num_rounds: int) -> float:
        """Return the factor after t rounds."""
        return self.gamma ** (elapsed // self.step_rounds)
