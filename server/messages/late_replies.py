"""Replies that arrive after the deadline of their exchange: discarded, and counted."""

from collections.abc import Callable

from flwr.serverapp import Grid


class LateReplies:
    """Remembers messages not answered in time, and reports their late replies.

    Parameters
    ----------
    grid : Grid
        The Grid on which replies arrive.
    say : callable
        Prints a line for the user.
    """

    def __init__(self, grid: Grid, say: Callable[[str], None]) -> None:
        self._grid = grid
        self._say = say
        self._awaited: dict[str, tuple[int, int]] = {}
        self.count = 0

    def await_later(self, client_of: dict[str, int], server_round: int) -> None:
        """Remember the messages of a round without a reply: message id → client."""
        self._awaited |= {message_id: (client, server_round) for message_id, client in client_of.items()}

    def collect(self) -> None:
        """Discard the replies that have arrived since, and report each with a line."""
        if not self._awaited:
            return
        for reply in self._grid.pull_messages(list(self._awaited)):
            if found := self._awaited.pop(reply.metadata.reply_to_message_id, None):
                self.count += 1
                self._say(
                    f"client {found[0]} answered round {found[1]} after failures.deadline: its reply is"
                    f" thrown away (late replies of this run: {self.count})"
                )
