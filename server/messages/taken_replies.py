"""Which replies were taken: clients keep no state of others (``clients.local.kept_state``)."""

from collections.abc import Collection, Iterable

from flwr.app import ConfigRecord, Message

from common.records import EXCHANGE, LOST, NUMBER, reply_name


class TakenReplies:
    """Numbers exchanges, and says in their messages which earlier replies were lost or refused.

    A client's lost replies are forgotten once it has answered again: it knew of them then.

    Parameters
    ----------
    needed : bool
        Whether clients keep state and failures are tolerated: otherwise messages are left as they are.
    """

    def __init__(self, needed: bool) -> None:
        self._needed = needed
        self._number = 0
        self._lost: dict[int, list[str]] = {}

    def stamp(self, messages: Iterable[Message]) -> int:
        """Give the messages of an exchange its number, which is returned, and the lost replies."""
        if not self._needed:
            return 0
        self._number += 1
        lost = [reply for replies in self._lost.values() for reply in replies]
        record = ConfigRecord({NUMBER: self._number, LOST: lost})
        contents = {id(message.content): message.content for message in messages}
        for content in contents.values():
            content[EXCHANGE] = record
        return self._number

    def note(self, number: int, asked: Collection[int], taken: Collection[int]) -> None:
        """Take note of who was asked in an exchange, and whose replies were taken."""
        if not self._needed:
            return
        for client_id in asked:
            if client_id in taken:
                self._lost.pop(client_id, None)
            else:
                self._lost.setdefault(client_id, []).append(reply_name(number, client_id))
