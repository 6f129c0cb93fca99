"""The base class of observers: the events of a run, and what an observer may know about them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Array, Message

from common.records import Tensors
from server.parts import Parts, Run


@dataclass
class Round:
    """The current round; attributes are set as it progresses.

    Attributes
    ----------
    number : int
        From 1; 0 is the evaluation of the initial model.
    start : Mapping[str, Array]
        The entries of the global model that were sent.
    messages : Mapping[int, Message]
        client id → its train message.
    metrics : Mapping[int, Mapping[str, float]]
        client id → its training metrics.
    worked : set of int
        Clients that did a job and may have new state, even if their reply was refused.
    seconds : Mapping[int, float]
        client id → virtual seconds of its job; empty without a clock.
    aggregated : Mapping[str, Array], optional
        The strategy's result, None if there is none.
    arrays : Mapping[str, Array]
        The whole global model after the round.
    evaluations : Mapping[int, Mapping[str, float]]
        client id → its evaluation metrics.
    row : dict
        The row of ``metrics.csv``; observers may add columns to it before ``on_round``.
    is_last : bool
        Whether no round follows.
    stop_requested : bool
        Whether a stop after this round was requested.
    """

    number: int
    start: Mapping[str, Array] = field(default_factory=dict)
    messages: Mapping[int, Message] = field(default_factory=dict)
    metrics: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    worked: set[int] = field(default_factory=set)
    seconds: Mapping[int, float] = field(default_factory=dict)
    aggregated: Mapping[str, Array] | None = None
    arrays: Mapping[str, Array] = field(default_factory=dict)
    evaluations: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    is_last: bool = False
    stop_requested: bool = False


class Observer:
    """Follows the rounds of a run; all methods may be overridden, and by default do nothing.

    Observers are called in a fixed order and cannot change the model. Their state between rounds is
    checkpointed with ``state`` and ``restore``, so a resumed run equals an uninterrupted one.

    Parameters
    ----------
    parts : Parts
        Configuration, strategy, data set, evaluation and clients. Nothing has been written yet, so the
        constructor is the place to refuse a configuration with a `UserError`.

    Attributes
    ----------
    run : Run
        The run directory and the display, from ``start`` on.
    """

    run: Run

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def start(self, run: Run) -> None:
        """Start; open files that grow by rows here (``run.run_directory.add_log``)."""
        self.run = run

    def replies(self, current: Round, replies: Iterable[Message]) -> Iterable[Message]:
        """Return the replies for the strategy, unchanged; a generator may inspect each as it passes."""
        return replies

    def on_train(self, current: Round) -> None:
        """Act after training and aggregation."""

    def stop_reason(self, current: Round) -> str:
        """Return why the run ends with this round, if it does; ``row`` has the central evaluation."""
        return ""

    def on_round(self, current: Round) -> None:
        """Act after a round, or after the evaluation of the initial model; ``row`` is complete."""

    def end(self) -> None:
        """Act when the run ends, however it does."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""


def change_of(after: Tensors, before: Tensors) -> Tensors:
    """Return the change of the floating-point entries that both have, in float64, in the order of names."""
    return {
        name: after[name].double() - before[name].double()
        for name in sorted(after.keys() & before.keys())
        if after[name].is_floating_point()
    }


def shared_parameters(parts: Parts) -> set[str]:
    """Return the names of the parameters that clients send; empty if they keep the whole model."""
    names = {name for name, _ in parts.evaluation.model.named_parameters()}
    return names - set(parts.clients.personal_names)


def nothing_sent(parts: Parts) -> str:
    """Return why something sees nothing if ``shared_parameters`` is empty: a clause to follow its name."""
    method = parts.config.method.name
    return f"looks at what clients send, and those of '{method}' keep the whole model"
