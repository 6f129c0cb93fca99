"""What may reach a strategy: one valid reply per client, in the order of the clients."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flwr.app import Array, Message, MetricRecord

from common.errors import CLIENT_MISCONFIGURED, ClientFailureError, UserError
from common.records import (
    ARRAYS,
    METRICS,
    PARTICIPATION_WEIGHT,
    array_records,
    content_bytes,
    finite_since,
    is_finite,
    to_tensors,
)


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
        Clients that a reply is expected from, ascending.
    references : Mapping[int, Mapping[str, Array]]
        client id → the model that it was sent: the names, shapes and dtypes that its ``"arrays"`` may have.
    tolerate : bool
        Whether failures are collected (``failures.policy = "drop"``) instead of ending the round at once.
    weights : Mapping[int, float], optional
        client id → the metric ``participation-weight`` that its reply is given.
    """

    def __init__(
        self,
        cohort: Sequence[int],
        references: Mapping[int, Mapping[str, Array]],
        tolerate: bool,
        weights: Mapping[int, float] | None = None,
    ) -> None:
        self._cohort = cohort
        self._references = references
        self._tolerate = tolerate
        self._weights = weights or {}
        self.failures: list[ClientFailure] = []
        self.metrics: dict[int, dict[str, float]] = {}
        self.worked: set[int] = set()  # did their job and may have new state, even if the reply is refused
        self.num_bytes = 0

    def in_client_order(self, replies: Iterable[tuple[int, Message]]) -> Iterator[Message]:
        """Yield the valid ones of (client id, reply) by ascending client id, each once its turn has come.

        Reductions in this order have the same bits whatever the order of arrival.
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
                self._fail(current, "no reply within failures.timeout, or its node has gone")
            elif current in waiting:
                yield self._accept(current, waiting.pop(current))
            current = next(expected, None)

    def _accept(self, client_id: int, reply: Message) -> Message:
        record = reply.content.metric_records[METRICS]
        self.metrics[client_id] = {name: v for name, v in record.items() if isinstance(v, int | float)}
        self.num_bytes += content_bytes(reply.content)
        if client_id in self._weights:
            record[PARTICIPATION_WEIGHT] = self._weights[client_id]
        return reply

    def _fail(self, client_id: int, reason: str) -> None:
        failure = ClientFailure(client_id, reason)
        self.failures.append(failure)
        if not self._tolerate:
            raise FailedRoundError(failure)

    def _fault(self, client_id: int, reply: Message) -> str:
        """Return why a reply must not be averaged in; empty if it may."""
        fault = self._content_fault(client_id, reply)
        metrics = None if reply.has_error() else reply.content.get(METRICS)
        return fault + finite_since(metrics) if fault and isinstance(metrics, MetricRecord) else fault

    def _content_fault(self, client_id: int, reply: Message) -> str:
        if reply.has_error():
            if reply.error.code == CLIENT_MISCONFIGURED:
                raise UserError(reply.error.reason or "a client is misconfigured")
            return reply.error.reason or "the client gave no reason"
        for name, record in array_records(reply.content).items():
            if name == ARRAYS and (fault := self._misfit(client_id, record)):
                return fault
            for key, value in to_tensors(record).items():
                if not is_finite(value):
                    return f"the reply's '{name}' has a value that is not finite in '{key}'"
        metrics = reply.content.get(METRICS)
        if not isinstance(metrics, MetricRecord) or "num-examples" not in metrics:
            return "the reply lacks the metric 'num-examples'"
        for key, metric in metrics.items():
            if isinstance(metric, float) and not math.isfinite(metric):
                return f"the reply's metric '{key}' is {metric}"
        return ""

    def _misfit(self, client_id: int, record: Mapping[str, Array]) -> str:
        reference = self._references.get(client_id, {})
        for key, array in record.items():
            expected = reference.get(key)
            if expected is None:
                return f"the reply has an unknown array '{key}'"
            if (array.shape, array.dtype) != (expected.shape, expected.dtype):
                return (
                    f"the reply's array '{key}' is {array.dtype}{array.shape},"
                    f" expected {expected.dtype}{expected.shape}"
                )
        return ""


class FailedRoundError(Exception):
    """A reply is a failure and failures are not tolerated."""

    def __init__(self, failure: ClientFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def check_failures(
    failures: Sequence[ClientFailure], cohort_size: int, max_fraction: float, server_round: int
) -> None:
    """Refuse a round in which too many clients failed; a round without any reply is always refused.

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
