"""The budget of ``local.*`` in every round."""

from common.step_rules import StepRule


class Fixed(StepRule):
    """Leaves the steps to ``local.*``."""

    decides = False
    depends_on_length = False
