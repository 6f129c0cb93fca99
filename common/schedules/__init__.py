"""Schedules of the learning rate, found by file name: ``schedule.name = "cosine"`` is ``cosine.py`` here."""

import functools
from pathlib import Path

from common.chosen import Same, chosen_object
from common.plugin_kinds import SCHEDULE
from common.plugins import folders
from common.sections import ScheduleSection


class Schedule:
    """Factors of the learning rate over a run: by round, by local step, or both.

    A subclass overrides ``by_round`` or ``by_step``; its parameters, ``schedule.<parameter>``, are annotated
    class attributes with a default.
    """

    depends_on_length = True
    """Whether the rate of a round depends on the length of the run; such a run cannot be extended."""

    def check(self) -> None:
        """Raise a `UserError` if the parameters are inconsistent."""

    def by_round(self, elapsed: int, num_rounds: int) -> float:
        """Return the factor of a round after `elapsed` of `num_rounds` rounds."""
        return 1.0

    def by_step(self, step: int, total_steps: int, warmup_steps: int) -> float:
        """Return the factor of a client's local step, counted from 0 and including the warm-up."""
        return 1.0

    @property
    def varies_by_step(self) -> bool:
        """Whether the rate may change within a round."""
        return type(self).by_step is not Schedule.by_step


def schedule_of(section: ScheduleSection) -> Schedule:
    """Return the schedule of a run.

    Raises
    ------
    UserError
        If there is no such schedule or parameter, or a value is out of range.
    """
    return _checked(Same(section), tuple(folders()))


@functools.lru_cache(maxsize=16)  # called in every job
def _checked(same: Same, _searched: tuple[Path, ...]) -> Schedule:
    schedule = chosen_object(SCHEDULE, same.section, Schedule)
    schedule.check()
    return schedule
