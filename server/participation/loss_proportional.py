"""Clients with a large loss in their last round are called more often."""

from collections.abc import Mapping

from server.participation._proportional import Proportional
from server.participation._scheme import SelectionContext


class LossProportional(Proportional):
    """Draws without replacement with probabilities proportional to the clients' last training losses."""

    remembers_losses = True

    def known(self, selection: SelectionContext) -> Mapping[int, float]:
        """Return the losses."""
        return selection.known_losses
