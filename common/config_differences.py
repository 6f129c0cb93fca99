"""Which keys affect the result of a run, so that a resumed run must share them."""

from common.config import Config
from common.schedules import schedule_of
from common.sections import Value
from common.step_rules import step_rule

# Keys that may differ when a run is resumed: they change where and how fast it runs, not its result.
RESUMABLE_DIFFERENCES = (
    "rounds", "overrides", "plugins", "observers", "tracking", "device", "dataset.root", "dataset.download",
)  # fmt: skip
STACK = "runtime.stack"  # the only key of its section that affects the result, in the last bits
RESUMABLE_SECTIONS = (
    "run.", "runtime.", "ray.", "resources.", "failures.", "state.", "checkpoint.", "analysis.",
)  # fmt: skip


def comparable(config: Config, depends_on_rounds: bool = False) -> dict[str, Value]:
    """Return the keys that affect the result, which a resumed run must share.

    `depends_on_rounds` is whether the method's result depends on the number of rounds.
    """
    ignored = set(RESUMABLE_DIFFERENCES)
    if depends_on_rounds or _depends_on_rounds(config):
        ignored.remove("rounds")
    values = {
        key: value
        for key, value in config.flat().items()
        if key not in ignored and not key.startswith(RESUMABLE_SECTIONS)
    }
    return {**values, STACK: max(1, config.runtime.stack)}


def differences(old: Config, new: Config, depends_on_rounds: bool = False) -> list[str]:
    """Return the differences of two configurations in the keys of `comparable`.

    A new one that leaves ``runtime.stack`` to be chosen takes the value of the old one.
    """
    before, after = comparable(old, depends_on_rounds), comparable(new, depends_on_rounds)
    if new.runtime.stack < 1:
        after[STACK] = before[STACK]
    return [
        f"{key} was {before.get(key)!r} and is {after.get(key)!r}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _depends_on_rounds(config: Config) -> bool:
    """Return whether the total number of rounds affects each single round."""
    schedule = schedule_of(config.schedule)
    by_rounds = not (schedule.varies_by_step and config.local.total_steps)
    return (schedule.depends_on_length and by_rounds) or (
        step_rule(config.steps).depends_on_length and not config.local.total_steps
    )
