"""The configurations of a search: those of the trials, and that of the winner."""

import argparse
from collections.abc import Mapping

from clients._configuration import complete
from common.config import Config
from common.config_values import merge, read_assignments, settle_budget
from common.errors import InapplicableKeyError, UserError
from common.experiment import Experiment, Overrides
from common.plugins import all_folders
from common.rounds_scale import scale_rounds
from common.search.spaces import Range
from common.sections import Value
from runtimes.run import configure

PRUNING = "runtimes.search.pruning:Pruning"
BUDGETS = ("local.epochs", "local.steps")
WITHOUT_TEST: Overrides = {"evaluate.test": False}


class Plan:
    """Applies a command line to the trials of an experiment file.

    Parameters
    ----------
    experiment : Experiment
        The file.
    options : argparse.Namespace
        The command line; its ``--set`` applies to the trials and the winner.

    Attributes
    ----------
    search : Search
        The file's search, with numbers of the types of the configuration.

    Raises
    ------
    UserError
        If ``--set`` overrides a searched key, or a value is invalid.
    """

    def __init__(self, experiment: Experiment, options: argparse.Namespace) -> None:
        assert experiment.search is not None
        self._overrides = experiment.overrides
        self._options = options
        self._assignments = read_assignments(options.set)
        self.search = experiment.search
        given = settle_budget(self._assignments)
        for key in self.search.keys:
            if given.get(key):
                raise UserError(f"--set {key}: [search] searches it: leave it out, or edit the file")
        if "evaluate.test" in given:
            raise UserError("--set evaluate.test: trials never use the test set, and the winner always does")
        first = {key: space.extremes[0] for key, space in self.search.keys.items()}
        self._contexts = [
            first,
            *(
                {**first, key: value}
                for key, space in self.search.keys.items()
                for value in space.extremes[1:]
            ),
        ]
        self._check_extremes()
        self.search = self.search.with_integer_ranges(
            [
                key
                for key, space in self.search.keys.items()
                if isinstance(space, Range) and self._is_whole(key)
            ]
        )

    def _check_extremes(self) -> None:
        """Refuse invalid range limits and choices, and keys that apply to no trial."""
        for key, space in self.search.keys.items():
            for value in space.extremes:
                unused: dict[str, InapplicableKeyError] = {}
                if not any(
                    key in self.trial({**context, key: value}, unused)[0] for context in self._contexts
                ):
                    raise UserError(f"search.keys: {unused[key]}")

    def _is_whole(self, key: str) -> bool:
        """Return whether a range is over integers, because the key takes nothing else."""
        space = self.search.keys[key]
        if not isinstance(space, Range) or not space.is_whole:
            return False
        for context in self._contexts:
            try:
                kept, _ = self.trial({**context, key: space.low + 0.5})
            except UserError:
                return True
            if key in kept:
                return False
        return True

    def trial(
        self,
        values: Mapping[str, Value],
        unused: dict[str, InapplicableKeyError] | None = None,
        directory: str = "",
    ) -> tuple[dict[str, Value], Config]:
        """Return the values that a trial uses, and its configuration.

        A key that does not apply because of another searched key, such as the parameter of another method, is
        left out and noted in `unused`.
        """
        kept = dict(values)
        while True:
            try:
                layers = {
                    **settle_budget(self._overrides),
                    **settle_budget(self.search.during),
                    **settle_budget(kept),
                }
                config = configure(
                    self._options, {**layers, **WITHOUT_TEST}, self._assignments, directory or "search"
                )
                return kept, complete(config)
            except InapplicableKeyError as error:
                if error.key not in kept:
                    raise
                (unused if unused is not None else {})[error.key] = error
                del kept[error.key]

    def winner(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the overrides of the winner: those of the file and the command line, and its values."""
        options = self._options
        overrides = {**settle_budget(self._overrides), **settle_budget(values)}
        if options.rounds_scale is not None:
            overrides |= scale_rounds(merge(overrides), options.rounds_scale)
        overrides |= settle_budget(self._assignments)
        folders = all_folders(",".join(options.plugins) or overrides.get("plugins", ""))
        off = {key for key in BUDGETS if overrides.get(key) == 0}  # switched off because the other is set
        kept = {key: value for key, value in overrides.items() if key not in off}
        return kept | ({"plugins": folders} if folders else {})

    def check_winner(self, values: Mapping[str, Value]) -> None:
        """Refuse a file whose winner could not run, before any trial starts."""
        bare = argparse.Namespace(**{**vars(self._options), "set": [], "rounds_scale": None, "resume": False})
        complete(configure(bare, self.winner(values), {}, "winner"))
