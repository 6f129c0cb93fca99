"""Checkpoints of a run: when they are written, and what is in them."""

import json
import time
from collections.abc import Collection, Mapping
from typing import Any, Protocol

from common.errors import UserError
from common.records import to_tensors
from server.checkpoints.checkpoint import Checkpoint
from server.checkpoints.client_files import StoredStates
from server.checkpoints.keeping import Keeping
from server.checkpoints.state_codec import capture_attributes, restore_attributes
from server.observers._observer import Observer, Round
from server.parts import Parts, Run

_KEEP = "keep"  # its name in the checkpoint


class Stateful(Protocol):
    """An object with state that a resumed run restores."""

    def state(self) -> dict[str, Any]:
        """Return plain values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""


class Checkpointing(Observer):
    """Commits every ``checkpoint.every`` rounds or ``checkpoint.minutes``, and when the run ends or stops.

    Rounds of ``checkpoint.keep`` are committed as well, and stay (``server.checkpoints.keeping``).

    Parameters
    ----------
    parts : Parts
        The parts of the experiment.

    Attributes
    ----------
    stateful : dict[str, Stateful]
        All objects with state between rounds, by their names in the checkpoint.
    committed : int
        The round of the last checkpoint that this process has written.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._keeping = Keeping(parts.config)
        self.stateful: dict[str, Stateful] = {_KEEP: self._keeping} if self._keeping.by_result else {}
        self.committed = 0
        self._changed: set[int] = set()  # clients that trained since the last checkpoint
        self._committed_at = time.monotonic()

    def start(self, run: Run) -> None:
        """Report settings for rounds beyond the run."""
        super().start(run)
        for remark in self._keeping.remarks():
            run.progress.note(remark)

    def on_train(self, current: Round) -> None:
        """Record the clients whose state may have changed."""
        self._changed |= current.worked

    def on_round(self, current: Round) -> None:
        """Commit if it is time to; the initial model is never committed."""
        checkpoint = self.parts.config.checkpoint
        minutes = (time.monotonic() - self._committed_at) / 60
        is_due = current.number % checkpoint.every == 0 or 0 < checkpoint.minutes <= minutes
        if current.number == 0:
            return
        if current.number == 1:  # not only when the first checkpoint is due
            for name, part in self.stateful.items():
                _plain(name, part.state())
        marks = self._keeping.marks(current.number, current.row)
        if current.is_last or current.stop_requested or is_due or marks:
            self.commit(current, marks)

    def commit(self, current: Round, marks: Collection[str] = ()) -> None:
        """Write a checkpoint of a finished round; `marks` say why it stays."""
        run, parts = self.run, self.parts
        changed = self._changed if parts.clients.keeps_state else set[int]()
        # If failures are tolerated, a checkpoint omits what a lost node has kept since the last one.
        tolerate = parts.config.failures.policy == "drop"
        run.checkpoints.commit(
            Checkpoint(
                current.number,
                to_tensors(current.arrays),
                capture_attributes(parts.strategy),
                {
                    **{name: _plain(name, part.state()) for name, part in self.stateful.items()},
                    "rows": run.run_directory.commit_rows(),
                },
                run.run_directory.values,
            ),
            run.messenger.kept_states(changed, spare_gone=tolerate),
            run.messenger.adopter(),
            marks,
        )
        self._changed.clear()
        self.committed = current.number
        self._committed_at = time.monotonic()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restore everything but the model to its state after the checkpoint's round."""
        run = self.run
        restore_attributes(self.parts.strategy, *checkpoint.strategy)
        for name, part in self.stateful.items():
            if name in checkpoint.progress:
                part.restore(checkpoint.progress[name])
        if self._keeping.by_result and _KEEP not in checkpoint.progress:
            run.progress.note(
                f"checkpoint.keep 'best' is new here: rounds up to {checkpoint.server_round} do not count"
            )
        for remark in run.run_directory.restore_rows(checkpoint.progress["rows"]):
            run.progress.note(remark)
        assert isinstance(checkpoint.clients, StoredStates)
        run.messenger.restore(checkpoint.clients)


def _plain(name: str, state: Any) -> Any:
    """Return a state, after checking that it can be written."""
    try:
        json.dumps(state)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{name}: what state() returns cannot be checkpointed: {error}; keep numbers, strings"
            " and lists or dictionaries of them"
        ) from None
    return state
