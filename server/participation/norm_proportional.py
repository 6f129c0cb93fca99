"""Clients whose models changed a lot in their last round are called more often."""

from collections.abc import Mapping
from typing import Any

from server.participation._proportional import Proportional
from server.participation._scheme import Feedback, SelectionContext


class NormProportional(Proportional):
    """Draws with probabilities proportional to the l2 norm of the last change of the clients' models.

    Optimal client sampling (Chen, Horváth and Richtárik 2022) asks all clients for the norms of their current
    changes; here the norm is that of the last round in which a client took part.
    """

    remembers_updates = True

    def __init__(self, **parameters: object) -> None:
        super().__init__(**parameters)
        self._norms: dict[int, float] = {}

    def known(self, selection: SelectionContext) -> Mapping[int, float]:
        """Return the norms."""
        return self._norms

    def observe(self, server_round: int, feedback: Mapping[int, Feedback]) -> None:
        """Record the norms of a round."""
        self._norms |= {client: seen.norm for client, seen in feedback.items()}

    def state(self) -> dict[str, Any]:
        """Return the norms."""
        return {"norms": {str(client): norm for client, norm in self._norms.items()}} if self._norms else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self._norms = {int(client): norm for client, norm in state.get("norms", {}).items()}
