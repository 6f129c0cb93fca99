"""How far the clients' models of a round drift apart, next to how far their mean moves."""

from collections.abc import Iterable, Iterator

from flwr.app import Message

from common.errors import UserError
from common.norms import squared_norm
from common.records import ARRAYS, Tensors, to_tensors
from server.observers._observer import Observer, Round, change_of, nothing_sent, shared_parameters
from server.parts import Parts, Run


class Drift(Observer):
    """Adds the column ``drift``: sum_k p_k ||y_k - x||^2 / ||sum_k p_k (y_k - x)||^2.

    x is the model from which client k started, y_k the one it sent back, both without buffers, and p_k its
    weight in the method's mean. 1: all clients made the same change; K: the changes of K clients are
    orthogonal, equally long and equally weighted. A round whose mean change is 0 has no value.

    Raises
    ------
    UserError
        If clients hold models of different sizes, or ``steps.rule`` follows the drift of clients that keep
        the whole model.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        if parts.config.model.sizes:
            raise UserError(
                "the observer 'drift' (observers, steps.rule) compares the changes of whole models: leave"
                " model.sizes empty"
            )
        self._names = shared_parameters(parts)
        if not self._names and parts.config.steps.rule == "drift":
            raise UserError(
                f"steps.rule 'drift' {nothing_sent(parts)}: choose another rule, or another method"
            )
        self._reset()

    def start(self, run: Run) -> None:
        """Report if there is nothing to measure."""
        super().start(run)
        if not self._names:
            run.progress.note(f"the observer 'drift' {nothing_sent(self.parts)}: there is no column drift")

    def _reset(self) -> None:
        self._weight = self._squares = 0.0
        self._total: Tensors = {}

    def replies(self, current: Round, replies: Iterable[Message]) -> Iterable[Message]:
        """Add up the changes and their squared lengths as the replies pass."""
        self._reset()
        return self._added(current, replies) if self._names else replies

    def _added(self, current: Round, replies: Iterable[Message]) -> Iterator[Message]:
        for reply in replies:
            client_id = self.parts.clients.client_ids[reply.metadata.src_node_id]
            sent = to_tensors(current.messages[client_id].content.array_records[ARRAYS])
            before = self.parts.strategy.trained_from(reply, sent)
            after = to_tensors(reply.content.array_records[ARRAYS])
            weight = self.parts.strategy.weight_of(reply)
            change = change_of({name: after[name] for name in self._names & after.keys()}, before)
            self._weight += weight
            self._squares += weight * float(squared_norm(change))
            self._total = {name: self._total.get(name, 0) + weight * d for name, d in change.items()}
            yield reply

    def on_train(self, current: Round) -> None:
        """Write the ratio; sums over k of w_k, in which p_k = w_k / W, leave one factor W."""
        if (moved := float(squared_norm(self._total))) > 0:
            current.row["drift"] = self._squares * self._weight / moved
        self._reset()
