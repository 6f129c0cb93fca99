"""Tracks which replies were taken: clients keep only their states (``clients.node.state_commit``)."""

from collections.abc import Collection, Mapping

from flwr.app import ConfigRecord, Message

from common.records import EXCHANGE, LOST, NUMBER, reply_name


class TakenReplies:
    """Numbers exchanges, and adds to their messages which earlier replies were lost or refused.

    A client's lost replies are forgotten once it has answered again, since it has been told about them.

    Parameters
    ----------
    needed : bool
        Whether clients keep state and a run may continue after a lost reply; otherwise messages are not
        changed.
    """

    def __init__(self, needed: bool) -> None:
        self._needed = needed
        self._number = 0
        self._lost: dict[int, list[str]] = {}

    def stamp(self, messages: Mapping[int, Message]) -> dict[int, int]:
        """Add to messages, by client, the exchange's number and the lost replies; return the numbers."""
        if not self._needed:
            return dict.fromkeys(messages, 0)
        self._number += 1
        lost = [reply for replies in self._lost.values() for reply in replies]
        record = ConfigRecord({NUMBER: self._number, LOST: lost})
        contents = {id(message.content): message.content for message in messages.values()}
        for content in contents.values():
            content[EXCHANGE] = record
        return dict.fromkeys(messages, self._number)

    def note(self, asked: Mapping[int, int], taken: Collection[int]) -> None:
        """Record which clients were asked, in which exchange, and whose replies were taken."""
        if not self._needed:
            return
        for client_id, number in asked.items():
            if client_id in taken:
                self._lost.pop(client_id, None)
            else:
                self._lost.setdefault(client_id, []).append(reply_name(number, client_id))
