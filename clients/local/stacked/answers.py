"""Answers train messages together; generic in what a message is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from clients.base import Client, Outcome
from clients.local.stacked.members import Member, grouped, trained
from clients.local.stacked.stackable import NotStackableError, check_stackable
from common.errors import described

ALONE = (
    "some clients train one by one, although runtime.stack is above 1: no other client of their stack has the"
    " same model size, and attributes of the same form"
)

Ticket = TypeVar("Ticket")
Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Answers(Generic[Ticket, Reply]):
    """Answers tickets as stacks where that is possible, and one by one otherwise.

    Attributes
    ----------
    prepare : callable
        Returns a ticket's client, ready to train; it may raise.
    conclude : callable
        Makes the reply of a client that has trained, given the ticket, the client and its `Outcome`. It
        raises `NotStackableError` if the client has to train again, by itself.
    alone : callable
        Answers a ticket by itself, from the beginning.
    say : callable
        Is given the reason why clients are trained one by one.
    """

    prepare: Callable[[Ticket], Client]
    conclude: Callable[[Ticket, Client, Outcome], Reply]
    alone: Callable[[Ticket], Reply]
    say: Callable[[str], None]

    def __call__(self, tickets: Iterable[Ticket]) -> Iterator[Reply]:
        """Yield the replies, in any order."""
        members: list[Member[Ticket]] = []
        stackable: set[int] = set()  # workers
        for ticket in tickets:
            try:
                client = self.prepare(ticket)
                if id(client.worker) not in stackable:
                    check_stackable(client.worker)
                    stackable.add(id(client.worker))
                members.append(Member(client, ticket))
            except Exception as error:
                self._say_why(error)
                yield self.alone(ticket)
        groups = grouped(members)
        for group in groups:
            if len(group) > 1:
                yield from self._stacked(group)
            else:
                if len(members) > 1:
                    self.say(ALONE)
                yield self.alone(group[0].ticket)

    def _stacked(self, members: Sequence[Member[Ticket]]) -> Iterator[Reply]:
        """Answer as a stack, or one by one if that fails, so that the client at fault has the error."""
        left = {id(member): member.ticket for member in members}
        try:
            for member, outcome in trained(members):
                reply = self.conclude(member.ticket, member.client, outcome)
                del left[id(member)]
                yield reply
        except Exception as error:
            self._say_why(error)
            for ticket in left.values():
                yield self.alone(ticket)

    def _say_why(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, NotStackableError) else described(error)
        self.say(f"clients train one by one, although runtime.stack is above 1: {reason}")
