"""Which clients are called in a round; each scheme is a module here, found by its file name.

A scheme module defines a subclass of ``ParticipationScheme`` (``_scheme.py``). The cohort of a round depends
on the seed and the round, for some schemes also on losses, never on what was drawn before.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.cohort import cohort_size
from common.config import Config
from common.defaults import drop_inherited_defaults
from common.errors import UserError, shown
from common.parameters import class_parameters, parse_parameters
from common.plugin_kinds import PARTICIPATION
from common.plugins import find_subclass
from common.randomness import Purpose, numpy_generator
from server.participation._scheme import AskLosses, Facts, Feedback, ParticipationScheme, SelectionContext

_BEFORE_THE_FIRST_ROUND = 0
_OWN = "scheme"  # checkpoint key of the scheme's state, next to losses by client id


def scheme_class(config: Config) -> type[ParticipationScheme]:
    """Return the class of a run's scheme."""
    return find_subclass(PARTICIPATION, config.participation.name, ParticipationScheme)


def weighs_uniformly(config: Config) -> bool:
    """Return whether replies weigh equally because of the scheme, and no user says otherwise."""
    return scheme_class(config).aggregates_uniformly and "weighting" not in config.method.parameters


def _ask_nobody(clients: Sequence[int], one_batch: bool) -> Mapping[int, float]:
    raise ValueError("this scheme asks clients for their losses, and there are no clients to ask")


class Participation:
    """The participation scheme of a run.

    Attributes
    ----------
    scheme : ParticipationScheme
        The scheme.
    num_examples : numpy.ndarray
        int64, shape (clients,): training samples by client; ones until ``take_counts``.

    Raises
    ------
    UserError
        Unknown scheme or parameter, or one that does not fit the run, when it is made.
    """

    def __init__(self, config: Config) -> None:
        name = config.participation.name
        scheme = scheme_class(config)
        declared = class_parameters(scheme)
        given = drop_inherited_defaults("participation", config.participation.parameters, declared)
        self.scheme = scheme(**parse_parameters("participation", name, declared, given))
        self._seed = config.seed
        self._name = name
        self._num_clients = config.clients.count
        self.num_examples = np.ones(self._num_clients, dtype=np.int64)
        self._known_losses: dict[int, float] = {}
        self.scheme.begin_run(
            Facts(
                self._num_clients,
                cohort_size(self._num_clients, config.clients.fraction),
                config.rounds,
                numpy_generator(self._seed, "participation", _BEFORE_THE_FIRST_ROUND),
            )
        )

    def take_counts(self, num_examples: npt.NDArray[np.int64], label_counts: npt.NDArray[np.int64]) -> None:
        """Take the clients' numbers of training samples, in total and by class, (clients, classes)."""
        self.num_examples = num_examples
        self.scheme.take_label_counts(label_counts)

    def cohort(
        self,
        server_round: int,
        fraction: float,
        purpose: Purpose = "participation",
        ask_losses: AskLosses = _ask_nobody,
    ) -> list[int]:
        """Return the client ids of a round, ascending; those of any other purpose are drawn uniformly."""
        size = cohort_size(self._num_clients, fraction)
        generator = numpy_generator(self._seed, purpose, server_round)
        if purpose != "participation":
            return sorted(generator.choice(self._num_clients, size=size, replace=False).tolist())
        selection = SelectionContext(
            server_round,
            self._num_clients,
            size,
            generator,
            self.num_examples,
            self._known_losses,
            ask_losses,
        )
        return self._checked(self.scheme.select(selection))

    def _checked(self, chosen: object) -> list[int]:
        clients = np.asarray(chosen)
        if not clients.size:
            raise UserError(f"participation.name '{self._name}' must choose at least one client")
        right = clients.ndim == 1 and clients.dtype.kind in "iu"
        if not right or clients.min() < 0 or clients.max() >= self._num_clients:
            raise UserError(
                f"participation.name '{self._name}' must choose client ids from 0 to {self._num_clients - 1},"
                f" not {shown(chosen)}"
            )
        if len(np.unique(clients)) < len(clients):
            raise UserError(f"participation.name '{self._name}' must choose each client at most once")
        return sorted(clients.tolist())

    def weights(self, cohort: Sequence[int]) -> dict[int, float]:
        """Return the factor of each client's aggregation weight; empty if there are none."""
        weights = self.scheme.weights()
        return {} if weights is None else {client: float(weights[client]) for client in cohort}

    # What is known from earlier rounds, if the scheme uses it.

    def observe(self, server_round: int, feedback: Mapping[int, Feedback]) -> None:
        """Record a round's feedback, by client id."""
        if self.scheme.remembers_losses:
            self._known_losses |= {client: seen.metrics["train_loss"] for client, seen in feedback.items()}
        self.scheme.observe(server_round, feedback)

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        losses = {str(client): loss for client, loss in self._known_losses.items()}
        return losses | {_OWN: own} if (own := self.scheme.state()) else losses

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""
        self.scheme.restore(state.get(_OWN, {}))
        self._known_losses = {int(client): loss for client, loss in state.items() if client != _OWN}
