"""The next trial's values: from a list known in advance, or proposed by Optuna after the trials so far."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common.errors import UserError
from common.search.proposals import Values, proposals
from common.search.spaces import Choices, Space
from common.search.table import Search
from common.search.trials import Trial


class Sampling:
    """Proposes the values of trials.

    Parameters
    ----------
    search : Search
        The search.
    meaning : callable
        Returns the effective values of a trial.

    Attributes
    ----------
    count : int
        The number of trials.
    known : list of Values
        The values of all trials, if they do not depend on results.

    Raises
    ------
    UserError
        If Optuna is needed and not installed, or there are fewer combinations than trials.
    """

    def __init__(self, search: Search, meaning: Callable[[Values], Values]) -> None:
        self._search = search
        self._is_optuna = search.method == "optuna"
        if self._is_optuna and importlib.util.find_spec("optuna") is None:
            raise UserError(
                "search.method = 'optuna' needs the package optuna, which is not installed: pip install"
                " '.[search]', or take method = 'random'"
            )
        self.known: list[Values] = [] if self._is_optuna else proposals(search, meaning)
        self.count = search.trials if self._is_optuna else len(self.known)

    def propose(self, number: int, before: Sequence[Trial]) -> Values:
        """Return the values of a trial, given the trials that have started."""
        return self._ask_optuna(number, before) if self._is_optuna else self.known[number]

    def _ask_optuna(self, number: int, before: Sequence[Trial]) -> Values:
        spaces = distributions(self._search.keys)
        study = study_of(self._search, before, spaces, seed=self._search.seed + number)
        asked = study.ask(spaces).params
        return {
            key: value if isinstance(space := self._search.keys[key], Choices) else space.rounded(value)
            for key, value in asked.items()
        }


def distributions(keys: Mapping[str, Space]) -> dict[str, Any]:
    """Return Optuna's distributions of the keys."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for key, space in keys.items():
        if isinstance(space, Choices):
            found[key] = CategoricalDistribution(space.values)
        elif space.is_whole:
            step = int(space.step) or 1
            found[key] = IntDistribution(
                int(space.low),
                int(space.low) + step * ((int(space.high - space.low)) // step),
                space.log,
                step,
            )
        else:
            high = space.low + space.num_steps * space.step if space.step else space.high
            found[key] = FloatDistribution(space.low, high, space.log, space.step or None)
    return found


def study_of(
    search: Search,
    trials: Sequence[Trial],
    spaces: Mapping[str, Any],
    seed: int = 0,
    curves: Mapping[int, Mapping[int, float]] | None = None,
) -> Any:
    """Return an in-memory Optuna study with these trials, which are themselves stored on disk.

    Parameters
    ----------
    search : Search
        The search.
    trials : sequence of Trial
        The trials; failed ones count as failed, open ones as running.
    spaces : mapping
        Their distributions.
    seed : int
        Seed of the sampler.
    curves : mapping, optional
        Number of a trial → round → objective.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    states = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "open": TrialState.RUNNING}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna's warnings about experimental features
        samplers = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        pruner = optuna.pruners.MedianPruner() if search.pruner == "median" else optuna.pruners.NopPruner()
        study = optuna.create_study(
            direction="maximize" if search.maximize else "minimize",
            sampler=samplers[search.sampler](),
            pruner=pruner,
        )
        study.add_trials(
            [
                create_trial(
                    state=states.get(trial.state, TrialState.FAIL),
                    value=trial.value if trial.state in ("finished", "pruned") else None,
                    params=trial.proposed,
                    distributions=dict(spaces),
                    intermediate_values=dict((curves or {}).get(trial.number, {})),
                )
                for trial in trials
            ]
        )
    return study
