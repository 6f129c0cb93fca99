"""Rules for the local steps of a round, found by file name: ``steps.rule = "qsr"`` is ``qsr.py`` here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from common.chosen import chosen_object
from common.plugin_kinds import STEP_RULE
from common.sections import StepsSection, Value

ROUNDING = 1e-9
MAX_STEPS = 1e15  # finite where a vanishing learning rate asks for infinitely many steps


@dataclass(frozen=True)
class Progress:
    """The inputs of a rule.

    Attributes
    ----------
    server_round : int
        The next round, from 1.
    share : float
        Share of the run that is done, from 0 to 1.
    base_steps, steps : int
        ``local.steps``, and the steps of the previous round.
    least, most : int
        ``steps.min`` and ``steps.max``, which bound the rule's result.
    base_rate, rate : float
        Learning rate of the run, and that at the start of the round without warm-up.
    first_loss, loss : float
        Training loss of the first round and of the last one; 0 before there is one.
    generator : np.random.Generator
        The round's random numbers, for rules that draw.
    """

    server_round: int
    share: float
    base_steps: int
    steps: int
    least: int
    most: int
    base_rate: float
    rate: float
    first_loss: float
    loss: float
    generator: np.random.Generator


class StepRule:
    """Decides the number of local steps of a round's clients.

    Parameters of a rule, ``steps.<parameter>``, are annotated public class attributes with a default. Its
    state between rounds, attributes with a leading underscore, is checkpointed: numbers and lists of numbers.
    """

    # Not annotated, since they are not parameters.
    decides = True
    """Whether the rule sets the local steps; otherwise ``local.*`` does."""
    needs_validation = False
    """Whether the rule uses the validation loss."""
    looks_at_rate = False
    """Whether the rule uses the learning rate."""
    needs_observers: ClassVar[tuple[str, ...]] = ()
    """The observers whose columns the rule uses; they are added to the run."""
    follows_clients = False
    """Whether the rule uses what single clients measured or sent, which ``privacy.*`` does not cover."""
    depends_on_length = True
    """Whether the steps of a round depend on the length of the run."""

    def steps(self, progress: Progress) -> int:
        """Return the local steps of a round."""
        raise NotImplementedError

    def observe(self, row: Mapping[str, Any]) -> None:
        """Observe a round's results.

        The row has ``train_loss``, ``validation_loss`` if it was measured, and the columns of
        ``needs_observers``.
        """

    def for_pooled_clients(self, count: int) -> dict[str, Value]:
        """Return the parameters for one client that takes the steps of `count` clients (``centralized``)."""
        return {}


def step_rule(section: StepsSection) -> StepRule:
    """Return a new instance of the rule of a run.

    Raises
    ------
    UserError
        If there is no such rule or parameter, or a value is out of range.
    """
    return chosen_object(STEP_RULE, section, StepRule)
