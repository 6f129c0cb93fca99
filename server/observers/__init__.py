"""Observers, which follow the rounds of a run, one file each; ``Observer`` is their base class.

Those with an underscore are part of every run. Others, and the user's own, run if the key ``observers``
names them.
"""

from collections.abc import Callable, Iterable, Mapping

from flwr.app import Message

from common.plugin_kinds import OBSERVER
from common.plugins import find_subclass, is_from_outside
from common.reading import comma_list
from common.step_rules import step_rule
from server.observers._best import Best
from server.observers._checkpointing import Checkpointing, Stateful
from server.observers._columns import adding_columns, leaving_the_model
from server.observers._early_stop import EarlyStop
from server.observers._features import Features
from server.observers._feedback import Feeds
from server.observers._layers import Layers
from server.observers._observer import Observer, Round
from server.observers._progress import Progress
from server.observers._rows import Rows
from server.observers._similarity import Similarity
from server.observers._tracker import Tracker, find_trackers
from server.observers._updates import Updates
from server.parts import Parts, Run

__all__ = ["Best", "Checkpointing", "Observer", "Observers", "Round", "Tracker"]


class Observers:
    """The observers of a run, in the order in which they are called.

    Those that record, and the user's own, come before the rows are written, so that they may add columns;
    checkpointing comes last, since it stores the state of all others.

    Parameters
    ----------
    parts : Parts
        The parts of the experiment.

    Raises
    ------
    UserError
        If ``observers`` names something that is not an observer, or one cannot work with the configuration.
    """

    def __init__(self, parts: Parts) -> None:
        self.best = Best(parts)
        needed = step_rule(parts.config.steps).needs_observers
        names = [*comma_list("observers", parts.config.observers), *needed]
        named = {name: find_subclass(OBSERVER, name, Observer)(parts) for name in dict.fromkeys(names)}
        self._names = {observer: name for name, observer in named.items()}
        self._outside = {observer for name, observer in named.items() if is_from_outside(OBSERVER, name)}
        early_stop = EarlyStop(parts)
        self.checkpointing = Checkpointing(parts)
        self.checkpointing.stateful |= {"best": self.best, "early_stop": early_stop}
        self.checkpointing.stateful |= {f"observers.{name}": observer for name, observer in named.items()}
        self._all: tuple[Observer, ...] = (
            Feeds(parts),
            Similarity(parts),
            Updates(parts),
            Features(parts),
            Layers(parts),
            *named.values(),
            early_stop,
            self.best,
            Rows(parts),
            *(cls(parts) for cls in find_trackers(parts.config).values()),
            Progress(parts),
            self.checkpointing,
        )

    def start(self, run: Run, stateful: Mapping[str, Stateful]) -> None:
        """Start all observers; checkpoints also have the state of `stateful`."""
        self.checkpointing.stateful |= stateful
        for observer in self._all:
            observer.start(run)

    def replies(self, current: Round, replies: Iterable[Message]) -> Iterable[Message]:
        """Show all observers the replies as they pass."""
        for observer in self._all:
            replies = observer.replies(current, replies)
        return replies

    def on_train(self, current: Round) -> None:
        """Notify all observers that the round's training is done."""
        for observer in self._all:
            self._call(observer, observer.on_train, current)

    def stop_reason(self, current: Round) -> str:
        """Return the first reason to stop; all observers are asked."""
        return next(filter(None, [observer.stop_reason(current) for observer in self._all]), "")

    def on_round(self, current: Round) -> None:
        """Notify all observers of a finished round."""
        for observer in self._all:
            self._call(observer, observer.on_round, current)

    def _call(self, observer: Observer, hook: Callable[[Round], None], current: Round) -> None:
        if observer in self._outside:
            hook = leaving_the_model(self._names[observer], hook)
        if observer in self._names:
            adding_columns(self._names[observer], hook, current)
        else:
            hook(current)

    def end(self) -> None:
        """End all observers."""
        for observer in self._all:
            observer.end()
