"""Feedback from rounds to the participation scheme."""

from collections.abc import Iterable, Iterator

import numpy as np
from flwr.app import Message

from common.errors import UserError
from common.norms import norm
from common.records import ARRAYS, to_tensors
from server.observers._observer import Observer, Round, change_of, nothing_sent, shared_parameters
from server.participation._scheme import Feedback, FloatArray
from server.participation._sketch import sketch
from server.parts import Parts


class Feeds(Observer):
    """Passes the scheme the clients' metrics and, if it uses them, the changes of their models."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._names: set[str] = set()
        if parts.participation.scheme.remembers_updates:
            scheme = f"participation.name '{parts.config.participation.name}'"
            if parts.config.model.sizes:
                raise UserError(
                    f"{scheme} compares the changes of whole models: leave model.sizes empty, or choose"
                    " another scheme"
                )
            self._names = shared_parameters(parts)
            if not self._names:
                raise UserError(f"{scheme} {nothing_sent(parts)}: choose another scheme, or another method")
        self._changes: dict[int, tuple[FloatArray, float]] = {}

    def replies(self, current: Round, replies: Iterable[Message]) -> Iterable[Message]:
        """Measure each client's change as its reply passes, if the scheme uses changes."""
        self._changes = {}
        return (
            self._measured(current, replies) if self.parts.participation.scheme.remembers_updates else replies
        )

    def _measured(self, current: Round, replies: Iterable[Message]) -> Iterator[Message]:
        for reply in replies:
            client_id = self.parts.clients.client_ids[reply.metadata.src_node_id]
            sent = to_tensors(current.messages[client_id].content.array_records[ARRAYS])
            start = self.parts.strategy.trained_from(reply, sent)
            after = to_tensors(reply.content.array_records[ARRAYS])
            change = change_of({name: after[name] for name in self._names & after.keys()}, start)
            self._changes[client_id] = sketch(change, self.parts.config.seed), float(norm(change))
            yield reply

    def on_train(self, current: Round) -> None:
        """Pass the round's feedback to the scheme."""
        nothing = (np.zeros(0), 0.0)
        feedback = {
            client_id: Feedback(
                metrics, current.seconds.get(client_id, 1.0), *self._changes.get(client_id, nothing)
            )
            for client_id, metrics in current.metrics.items()
        }
        self._changes = {}
        self.parts.participation.observe(current.number, feedback)
