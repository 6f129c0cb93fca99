"""Scale an experiment to a fraction of its rounds."""

import math
from collections.abc import Mapping

from common.config import Config
from common.errors import UserError
from common.phases import Phases
from common.schedules.step import Step
from common.sections import Value


def scale_rounds(values: Mapping[str, Value], factor: float) -> dict[str, Value]:
    """Return the keys that change if a run takes `factor` times its rounds.

    The learning rate follows the same curve: warm-up and decay are scaled with the rounds, and if
    ``schedule.step-rounds`` cannot be scaled exactly (it is at least 1), ``schedule.gamma``
    compensates, so that lr(t / T) stays the same. ``evaluate.every`` stays: an evaluation costs the same in a
    short run as in a long one, and the last round is evaluated anyway. With ``local.total-steps`` these
    are scaled, and the rounds are as many as they take, unless ``steps.rule`` decides how many that is.

    Parameters
    ----------
    values : Mapping[str, Value]
        A flat configuration.
    factor : float
        Positive.
    """
    if not 0 < factor < math.inf:
        raise UserError(f"--rounds-scale must be a number greater than 0, not {factor:g}")
    try:
        return _scaled(values, factor)
    except (ValueError, TypeError, OverflowError):  # values that are invalid, or become so
        Config.from_flat(values)
        raise UserError(f"--rounds-scale = {factor:g} makes a number of rounds or steps too large") from None


def _scaled(values: Mapping[str, Value], factor: float) -> dict[str, Value]:
    scaled: dict[str, Value] = {}
    for key in ("rounds", "schedule.warmup-rounds", "schedule.warmup-steps", "local.total-steps"):
        value = values[key]
        if isinstance(value, int) and value > 0:
            scaled[key] = max(1, _round_half_up(value * factor))
    if epochs := values["schedule.warmup-epochs"]:
        scaled["schedule.warmup-epochs"] = float(epochs) * factor
    if phases := str(values["local.phases"]):
        scaled["local.phases"] = _scaled_phases(phases, factor)
    if (total := scaled.get("local.total-steps")) and values["steps.rule"] == "fixed":
        plan = Phases.parse(int(values["local.steps"]), str(scaled.get("local.phases", "")), int(total))
        scaled["rounds"] = plan.num_rounds(int(total))
    step, gamma = values.get("schedule.step-rounds"), values.get("schedule.gamma", Step.gamma)
    if isinstance(step, int) and step > 0 and isinstance(gamma, int | float):
        exact = step * factor
        scaled["schedule.step-rounds"] = whole = max(1, _round_half_up(exact))
        scaled["schedule.gamma"] = gamma if whole == exact else gamma ** (whole / exact)
    return scaled


def _scaled_phases(phases: str, factor: float) -> str:
    """Scale the starts of the phases; the steps per round do not change."""
    parts = [part.partition(":") for part in phases.split(",")]
    return ",".join(f"{_round_half_up(int(start) * factor)}{colon}{steps}" for start, colon, steps in parts)


def _round_half_up(value: float) -> int:
    return int(value + 0.5)
