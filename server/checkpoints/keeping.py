"""Which checkpoints stay for good: ``checkpoint.keep`` and ``checkpoint.keep-by-phase``."""

from collections.abc import Iterator, Mapping
from typing import Any

from common.config import Config
from common.errors import UserError
from common.rates import decayed_rate
from common.round_list import RoundList
from common.schedules import Schedule, schedule_of
from common.sections import numbers_by_phase
from server.checkpoints.checkpoint import ALWAYS, BEST
from server.records.results import is_better, is_evaluated, judged_columns

# By validation data if there are any: a model selected on its test set would be reported too well.
_JUDGED_BY = ("validation", "test", "personal")


class Keeping:
    """Decides after each round whether its checkpoint stays.

    Parameters
    ----------
    config : Config
        The run's configuration.

    Raises
    ------
    UserError
        If ``decay`` is named where there is no such round.
    """

    def __init__(self, config: Config) -> None:
        keep = config.checkpoint
        self._rounds = RoundList(keep.kept_rounds, "checkpoint.keep")
        self._by_phase = numbers_by_phase(keep.keep_by_phase, "checkpoint.keep-by-phase")
        self._plan = config.local.step_plan() if self._by_phase else None
        self._num_rounds = config.rounds
        self._names = keep.kept_names
        self._drops = _drops(config) if "decay" in self._names else frozenset[int]()
        self._best: dict[str, Any] = {}

    @property
    def by_result(self) -> bool:
        """Whether the best round stays."""
        return BEST in self._names

    def marks(self, server_round: int, row: Mapping[str, Any]) -> list[str]:
        """Return why the checkpoint of a finished round stays; empty if it does not."""
        is_named = server_round in self._rounds or server_round in self._drops
        is_due = self._plan is not None and self._plan.is_due(server_round, self._by_phase)
        found = [ALWAYS] if is_named or is_due else []
        if self.by_result and is_evaluated(row) and is_better(row, self._best, _JUDGED_BY):
            self._best = judged_columns(row, _JUDGED_BY)
            found.append(BEST)
        return found

    def remarks(self) -> Iterator[str]:
        """Yield remarks on settings for rounds beyond the run."""
        if self._rounds and self._rounds.first() > self._num_rounds:
            yield f"checkpoint.keep lists no round up to rounds = {self._num_rounds}"
        if "decay" in self._names and not self._drops:
            yield f"checkpoint.keep 'decay': the rate drops in none of rounds = {self._num_rounds}"

    def state(self) -> dict[str, Any]:
        """Return the best result."""
        return {"best": self._best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self._best = dict(state["best"])


def _drops(config: Config) -> frozenset[int]:
    """Return the last round before each drop of the learning rate, not counting the warm-up.

    Raises
    ------
    UserError
        If the rate does not drop by rounds, or does so after each of them.
    """
    name = config.schedule.name
    is_flat = type(schedule_of(config.schedule)).by_round is Schedule.by_round
    if is_flat and (not config.local.phases or config.schedule.phase_gamma == 1):
        raise UserError(
            f"checkpoint.keep 'decay': schedule.name '{name}' never lowers the rate between rounds, as 'step'"
            " and 'milestones' do; list rounds instead"
        )
    rates = [decayed_rate(config, number) for number in range(1, config.rounds + 1)]
    drops = frozenset(number for number in range(1, config.rounds) if rates[number] < rates[number - 1])
    if len(drops) == config.rounds - 1 > 1:
        raise UserError(
            f"checkpoint.keep 'decay': the rate of schedule.name '{name}' drops after every round; list"
            " rounds instead"
        )
    return drops
