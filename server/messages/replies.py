"""Checks replies before they reach a strategy: one valid reply per client, in client order."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Array, Message, MetricRecord

from common.errors import CLIENT_MISCONFIGURED, ClientFailureError, UserError, one_line
from common.records import METRICS, PARTICIPATION_WEIGHT, content_bytes, finite_since, metrics_record
from server.messages.content import NUM_EXAMPLES, ContentCheck
from server.messages.decompression import Decompression

_LONGEST_REASON = 20_000


@dataclass(frozen=True)
class ClientFailure:
    """A client whose job failed, and why."""

    client_id: int
    reason: str


class ReplyCheck:
    """Checks the replies of one round, puts them in client order and keeps their metrics.

    Parameters
    ----------
    cohort : Sequence[int]
        Clients from which a reply is expected, ascending.
    references : Mapping[int, Mapping[str, Array]]
        client id → the model that it was sent: the names, shapes and dtypes that its ``"arrays"`` may have.
    tolerate : bool
        Whether failures are collected (``failures.policy = "drop"``) instead of ending the round at once.
    weights : Mapping[int, float], optional
        client id → the metric ``participation-weight`` that its reply is given.
    nodes : Mapping[int, int], optional
        client id → the node that may answer for it.
    required : Collection[str], optional
        Metrics that a reply must have.
    most_examples : Mapping[int, int], optional
        client id → the largest number of examples that its reply may report.
    num_working : int, optional
        Number of clients that work concurrently, if that is more than the cohort.
    sections : Collection[str] or None
        The sections that a reply may have in addition to the model; None: any.
    decompression : Decompression, optional
        Restores models whose changes are compressed.

    Attributes
    ----------
    num_working : int
        The number of clients to which ``failures.max-fraction`` applies.
    """

    def __init__(
        self,
        cohort: Sequence[int],
        references: Mapping[int, Mapping[str, Array]],
        tolerate: bool,
        weights: Mapping[int, float] | None = None,
        nodes: Mapping[int, int] | None = None,
        required: Collection[str] = (NUM_EXAMPLES,),
        most_examples: Mapping[int, int] | None = None,
        num_working: int = 0,
        sections: Collection[str] | None = None,
        decompression: Decompression | None = None,
    ) -> None:
        self._cohort, self._decompression = cohort, decompression
        self.num_working = max(num_working, len(cohort))
        self._content = ContentCheck(references, required, most_examples, sections)
        self._nodes = nodes or {}
        self._tolerate = tolerate
        self._weights = weights or {}
        self.failures: list[ClientFailure] = []
        self.metrics: dict[int, dict[str, float]] = {}
        self.worked: set[int] = set()  # did their job and may have new state, even if the reply is refused
        self.bytes_up: dict[int, int] = {}

    @property
    def num_bytes(self) -> int:
        """The bytes of the arrays of all valid replies."""
        return sum(self.bytes_up.values())

    def in_client_order(self, replies: Iterable[tuple[int, Message]]) -> Iterator[Message]:
        """Yield the valid replies of (client id, reply) by ascending client id, each as soon as it is next.

        Aggregated in this order, they give the same bits whatever the order of arrival.
        """
        waiting: dict[int, Message] = {}
        expected = iter(self._cohort)
        current = next(expected, None)
        settled: set[int] = set()
        for client_id, reply in replies:
            settled.add(client_id)
            if not reply.has_error():
                self.worked.add(client_id)
            if reason := self._fault(client_id, reply):
                self._fail(client_id, reason)
            else:
                waiting[client_id] = reply
            del reply  # the consumer of the generator decides how long it lives
            while current in settled:
                if current in waiting:
                    yield self._accept(current, waiting.pop(current))
                current = next(expected, None)
        while current is not None:
            if current not in settled:
                self._fail(current, "no reply within failures.timeout or deadline, or its node has gone")
            elif current in waiting:
                yield self._accept(current, waiting.pop(current))
            current = next(expected, None)

    def _accept(self, client_id: int, reply: Message) -> Message:
        record = metrics_record(reply.content)
        self.metrics[client_id] = {name: v for name, v in record.items() if isinstance(v, int | float)}
        saved = self._decompression.bytes_saved.get(client_id, 0) if self._decompression else 0
        self.bytes_up[client_id] = content_bytes(reply.content) - saved
        if client_id in self._weights:
            record[PARTICIPATION_WEIGHT] = self._weights[client_id]
        return reply

    def _fail(self, client_id: int, reason: str) -> None:
        failure = ClientFailure(client_id, reason)
        self.failures.append(failure)
        if not self._tolerate:
            raise FailedRoundError(failure)

    def _fault(self, client_id: int, reply: Message) -> str:
        """Return why a reply must not be aggregated; empty if it may."""
        if reply.has_error():
            return self._reason(reply)
        if reply.metadata.src_node_id != self._nodes.get(client_id, reply.metadata.src_node_id):
            return f"the reply came from another node, {reply.metadata.src_node_id}"
        unreadable = self._decompression.fault(client_id, reply) if self._decompression else ""
        fault = unreadable or self._content.fault(client_id, reply)
        metrics = reply.content.get(METRICS)
        return fault + finite_since(metrics) if fault and isinstance(metrics, MetricRecord) else fault

    def _reason(self, reply: Message) -> str:
        reason = _readable(reply.error.reason or "the client gave no reason")
        if reply.error.code == CLIENT_MISCONFIGURED:
            raise UserError(reason)
        return reason


def _readable(reason: str) -> str:
    """Return the end of a text from another machine, without terminal control characters."""
    lines = reason[-_LONGEST_REASON:].replace("\t", "    ").splitlines()
    return "\n".join(one_line(line) for line in lines)


class FailedRoundError(Exception):
    """A reply is a failure and failures are not tolerated."""

    def __init__(self, failure: ClientFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def check_failures(
    failures: Sequence[ClientFailure], cohort_size: int, max_fraction: float, server_round: int
) -> None:
    """Refuse a round in which too many of the clients at work failed, or all of them.

    Raises
    ------
    ClientFailureError
        Names the clients and the first reason.
    """
    if not failures or (len(failures) < cohort_size and len(failures) <= max_fraction * cohort_size):
        return
    clients = ", ".join(str(failure.client_id) for failure in failures)
    extent = "all" if len(failures) == cohort_size else f"{len(failures)} of {cohort_size}"
    raise ClientFailureError(
        f"round {server_round}: {extent} clients failed (clients {clients};"
        f" failures.max-fraction = {max_fraction})."
        f" The first reason:\n{failures[0].reason}"
    )
