"""Keys that go for all runs of a sweep: each run takes those that it knows, and some run must."""

from collections.abc import Callable, Mapping, Sequence

from common.config import Config
from common.errors import InapplicableKeyError
from common.experiment_file import Overrides, Point
from server.named_parameters import check_parameters

Configure = Callable[[Overrides, Overrides], Config]


class SharedKeys:
    """What the top level of an experiment file and ``--set`` give to every run of a sweep.

    A key that a run has no use for (its feature is off, or what is named has no such parameter) is left out
    of that run, also one of a label that another axis switches off. One that no run has a use for is refused.

    Parameters
    ----------
    of_file, of_command_line : Overrides
        The two layers.
    """

    def __init__(self, of_file: Overrides, of_command_line: Overrides) -> None:
        self._of_file = of_file
        self._of_command_line = of_command_line
        self._refused: list[dict[str, InapplicableKeyError]] = []  # of every run: key → why it is left out
        self._own: list[frozenset[str]] = []  # of every run: keys that its labels set
        self._is_selected: list[bool] = []

    def configure(self, point: Point, configure: Configure, is_selected: bool = True) -> Config:
        """Return the configuration of a run with the shared keys that it has a use for.

        Parameters
        ----------
        point : Point
            The run.
        configure : callable
            Makes a configuration of the run's overrides and what ``--set`` sets.
        is_selected : bool, default True
            Whether the run is one of those that the command line is for.

        Raises
        ------
        UserError
            If the configuration is wrong whatever shared keys are left out.
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
        """Refuse a key that no run had a use for.

        Raises
        ------
        InapplicableKeyError
            What the first run said about it.
        """
        runs = list(zip(self._refused, self._own, self._is_selected, strict=True))
        # Of a part of the sweep nothing can be said about the keys of the file, which other runs may use.
        layers = [self._of_command_line, *([self._of_file] if all(self._is_selected) else [])]
        for key in (key for layer in layers for key in layer):
            _check_one_uses(key, [refused for refused, _, chosen in runs if chosen])
        for key in dict.fromkeys(key for refused, own, _ in runs for key in refused if key in own):
            _check_one_uses(key, [refused for refused, own, _ in runs if key in own])


def _check_one_uses(key: str, refused: Sequence[Mapping[str, InapplicableKeyError]]) -> None:
    if refused and all(key in errors for errors in refused):
        raise refused[0][key]


def _without(layer: Overrides, keys: Mapping[str, object]) -> Overrides:
    return {key: value for key, value in layer.items() if key not in keys}
