"""How long a synchronous round takes on the virtual clock."""

from collections.abc import Mapping, Sequence

from flwr.app import Message

from common.clock import ClientSpeeds
from server.messages.messenger import bytes_by_client
from server.messages.replies import ReplyCheck
from server.parts import Parts


class RoundClock:
    """Adds up the exchanges of a round, each of which waits for the slowest of its clients.

    Parameters
    ----------
    parts : Parts
        The experiment: ``clock.*``, and how many samples clients have.

    Attributes
    ----------
    seconds : dict
        client id → how long its job of the last round took; empty without a clock.
    """

    def __init__(self, parts: Parts) -> None:
        self._speeds = ClientSpeeds(parts.config)
        self._num_examples, self._strategy = parts.clients.num_examples, parts.strategy
        self._waited = 0.0
        self.seconds: dict[int, float] = {}

    def ask(self, messages: Mapping[int, Message], check: ReplyCheck) -> None:
        """Count an exchange in which nobody trains: the transfer of messages and answers."""
        if not self._speeds.is_off:
            sent = _bytes(messages, check)
            self._waited += max((self._speeds.transfer(*item) for item in sent.items()), default=0.0)

    def train(
        self,
        server_round: int,
        cohort: Sequence[int],
        messages: Mapping[int, Message],
        check: ReplyCheck,
        assigned_steps: int | None,
    ) -> float | None:
        """Return the virtual seconds of a round, what was asked before included; None without a clock.

        A client counts the steps that it made; one that failed, those that it was to make.
        """
        if self._speeds.is_off:
            return None
        waited, self._waited = self._waited, 0.0
        sent = _bytes(messages, check)

        def seconds(client_id: int) -> float:
            made = check.metrics.get(client_id, {}).get("num-steps")
            if made is None:
                examples = int(self._num_examples[client_id])
                made = self._speeds.planned_steps(client_id, server_round, examples, assigned_steps or 0)
            moved = self._strategy.bytes_on_the_clock(client_id, server_round, sent.get(client_id, 0))
            return self._speeds.job(client_id, server_round, int(made), moved)

        self.seconds = {client_id: seconds(client_id) for client_id in cohort}
        return waited + max(self.seconds.values(), default=0.0)


def _bytes(messages: Mapping[int, Message], check: ReplyCheck) -> dict[int, int]:
    """Return by client the bytes of the arrays that it was sent and that it sent."""
    down = bytes_by_client(messages)
    return {client_id: sent + check.bytes_up.get(client_id, 0) for client_id, sent in down.items()}
