"""Chooses the cohort of a round, which may depend on clients' answers before it."""

import functools
from collections import Counter
from collections.abc import Callable, Mapping

from flwr.app import ArrayRecord

from common.errors import UserError
from common.returned import check_clients
from common.stragglers import work_share
from server.messages.client_calls import ClientCalls
from server.parts import Parts


class Cohorts:
    """Chooses cohorts, and asks them for what the strategy needs before a round.

    The cost of asking is added to a counter: ``failures``, ``bytes_down``, ``bytes_up``, ``clients``.

    Parameters
    ----------
    parts : Parts
        The experiment.
    calls : ClientCalls
        How clients are asked.
    """

    def __init__(self, parts: Parts, calls: ClientCalls) -> None:
        self._parts, self._calls = parts, calls

    def select(self, number: int, model: Callable[[], ArrayRecord], cost: Counter[str]) -> list[int]:
        """Return the clients that a round calls, without stragglers if ``stragglers.policy = "drop"``."""
        config = self._parts.config
        cohort = self._parts.strategy.cohort(number)
        if cohort is not None:
            what = f"what {type(self._parts.strategy).__name__}.cohort returns"
            check_clients(cohort, config.clients.count, what)
            if not cohort:
                raise UserError(f"{what} is empty: name at least one client, or return None for the scheme's")
        else:
            ask_losses = functools.partial(self._calls.losses, number, model(), cost)
            cohort = self._parts.participation.cohort(number, config.clients.fraction, ask_losses=ask_losses)
        if config.stragglers.policy == "keep":
            return cohort
        return [client_id for client_id in cohort if work_share(config, number, client_id) == 1]

    def answering(
        self,
        number: int,
        model: ArrayRecord,
        cohort: list[int],
        steps: Mapping[str, int],
        cost: Counter[str],
    ) -> tuple[list[int], set[int]]:
        """Return the cohort without clients that failed before the round, and those that did work."""
        check, sent = self._calls.prelude(number, model, cohort, steps)
        cost.update(failures=len(check.failures), bytes_down=sent, bytes_up=check.num_bytes)
        failed = {failure.client_id for failure in check.failures}
        return [client_id for client_id in cohort if client_id not in failed], set(check.worked)
