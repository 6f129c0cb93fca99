"""Keys shared by all runs of a sweep: each run takes the applicable ones, and at least one run must."""

from collections.abc import Callable, Mapping, Sequence

from common.config import Config
from common.errors import InapplicableKeyError
from common.experiment import Overrides, Point
from server.named_parameters import check_parameters

Configure = Callable[[Overrides, Overrides], Config]


class SharedKeys:
    """The keys that the top level of an experiment file and ``--set`` give to every run of a sweep.

    A key that does not apply to a run (its feature is off, or the named thing has no such parameter) is left
    out of that run, also a label's key that another axis switches off. A key that applies to no run is
    refused.

    Parameters
    ----------
    of_file, of_command_line : Overrides
        The two layers.
    """

    def __init__(self, of_file: Overrides, of_command_line: Overrides) -> None:
        self._of_file = of_file
        self._of_command_line = of_command_line
        self._refused: list[dict[str, InapplicableKeyError]] = []  # per run: key → why it is left out
        self._own: list[frozenset[str]] = []  # per run: keys set by its labels
        self._is_selected: list[bool] = []

    def configure(self, point: Point, configure: Configure, is_selected: bool = True) -> Config:
        """Return the configuration of a run with the shared keys that apply to it.

        Parameters
        ----------
        point : Point
            The run.
        configure : callable
            Makes a configuration from the run's overrides and those of ``--set``.
        is_selected : bool, default True
            Whether the command line selects the run.

        Raises
        ------
        UserError
            If the configuration is invalid even without the inapplicable shared keys.
        """
        left_out: dict[str, InapplicableKeyError] = {}
        while True:
            try:
                config = configure(
                    _without(point.overrides, left_out), _without(self._of_command_line, left_out)
                )
                check_parameters(config)
                break
            except InapplicableKeyError as error:
                if error.key in left_out or error.key not in {*point.overrides, *self._of_command_line}:
                    raise
                left_out[error.key] = error
        self._refused.append(left_out)
        self._own.append(frozenset(point.own))
        self._is_selected.append(is_selected)
        return config

    def check_used(self) -> None:
        """Refuse a key that applied to no run.

        Raises
        ------
        InapplicableKeyError
            The error of the first run about it.
        """
        runs = list(zip(self._refused, self._own, self._is_selected, strict=True))
        # With only a part of the sweep selected, the file's keys may apply to other runs.
        layers = [self._of_command_line, *([self._of_file] if all(self._is_selected) else [])]
        for key in (key for layer in layers for key in layer):
            _check_one_uses(key, [refused for refused, _, chosen in runs if chosen])
        chosen_runs = [(refused, own) for refused, own, chosen in runs if chosen]
        for key in dict.fromkeys(key for refused, own in chosen_runs for key in refused if key in own):
            _check_one_uses(key, [refused for refused, own, _ in runs if key in own])


def _check_one_uses(key: str, refused: Sequence[Mapping[str, InapplicableKeyError]]) -> None:
    if refused and all(key in errors for errors in refused):
        raise refused[0][key]


def _without(layer: Overrides, keys: Mapping[str, object]) -> Overrides:
    return {key: value for key, value in layer.items() if key not in keys}
