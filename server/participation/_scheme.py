"""The base class of participation schemes, which choose the clients of a round."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

# (client ids, whether one mini-batch of each is enough) -> loss of the current global model by client id.
# Clients whose failure is tolerated are missing from the result.
AskLosses = Callable[[Sequence[int], bool], Mapping[int, float]]


@dataclass(frozen=True)
class Facts:
    """What a scheme knows before the first round.

    Attributes
    ----------
    num_clients, cohort_size, rounds : int
        K, m and the number of rounds of the run.
    generator : numpy.random.Generator
        For what is drawn once per run.
    """

    num_clients: int
    cohort_size: int
    rounds: int
    generator: np.random.Generator


@dataclass(frozen=True)
class Feedback:
    """What a scheme learns about a client after a round.

    Attributes
    ----------
    metrics : Mapping[str, float]
        Its training metrics.
    seconds : float
        Virtual seconds of its job, 1 without a clock.
    change : numpy.ndarray
        Sketch of the change of its model, float64, shape (``SKETCH``,), which keeps norms and angles
        approximately; empty unless ``remembers_updates``.
    norm : float
        The l2 norm of that change.
    """

    metrics: Mapping[str, float]
    seconds: float = 1.0
    change: FloatArray = field(default_factory=lambda: np.zeros(0))
    norm: float = 0.0


@dataclass(frozen=True)
class SelectionContext:
    """What a scheme may use in one round.

    Attributes
    ----------
    server_round, num_clients, cohort_size : int
        The round from 1, K and m.
    generator : numpy.random.Generator
        The round's own: a cohort depends on (seed, round), never on what was drawn before.
    num_examples : numpy.ndarray
        int64, shape (clients,): the clients' training samples.
    known_losses : Mapping[int, float]
        client id → training loss in the last round in which the client took part.
    ask_losses : callable
        Asks clients for their losses, at the cost of sending them the model.
    """

    server_round: int
    num_clients: int
    cohort_size: int
    generator: np.random.Generator
    num_examples: npt.NDArray[np.int64]
    known_losses: Mapping[int, float]
    ask_losses: AskLosses


class ParticipationScheme:
    """A participation scheme; a subclass in ``server/participation/<name>.py`` is found by its file name.

    Parameters of the scheme, ``participation.<parameter>``, are annotated public class attributes with a
    default. What a cohort depends on from earlier rounds is in `SelectionContext`, or is recorded by
    ``observe`` and checkpointed by ``state``.
    """

    # Not annotated, since they are not parameters.
    RENAMED = MappingProxyType({"prepare": "begin_run", "setup": "take_label_counts"})
    """Hook that schemes no longer have → its name, for ``common.overrides``."""
    aggregates_uniformly = False
    """Whether by default the method weights the replies of the cohort equally."""
    remembers_losses = False
    """Whether ``SelectionContext.known_losses`` is used."""
    remembers_updates = False
    """Whether ``observe`` uses the changes of the clients' models."""
    looks_at_clients = False
    """Whether a client's data affect who else is drawn, through sizes or losses of the current model."""
    looks_at_labels = False
    """Whether cohorts depend on the clients' labels (``take_label_counts``)."""
    keeps_cohort_size = True
    """Whether every cohort has the size that ``clients.fraction`` plans."""
    uses_fraction = True
    """Whether ``clients.fraction`` matters at all; where it does not, setting it is refused."""

    def __init__(self, **parameters: object) -> None:
        for name, value in parameters.items():
            setattr(self, name, value)

    def begin_run(self, facts: Facts) -> None:
        """Take the facts of the run, and make the draws of which there is one per run.

        Raises
        ------
        UserError
            If a parameter does not fit the run.
        """

    def take_label_counts(self, label_counts: npt.NDArray[np.int64]) -> None:
        """Take the clients' numbers of training samples by class: int64, shape (clients, classes)."""

    def select(self, selection: SelectionContext) -> Sequence[int] | npt.NDArray[np.int64]:
        """Return the clients of a round, each once, in any order."""
        raise NotImplementedError

    def observe(self, server_round: int, feedback: Mapping[int, Feedback]) -> None:
        """Record a round's feedback, by client id."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, as plain values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` returned."""

    @property
    def follows_training(self) -> bool:
        """Whether cohorts depend on what clients did in earlier rounds."""
        return self.remembers_losses or self.remembers_updates or type(self).observe is not _DOES_NOTHING

    @property
    def corrects(self) -> bool:
        """Whether ``weights`` returns factors; known before ``take_label_counts``."""
        correction = getattr(self, "correction", None)
        return self.weights() is not None if correction is None else correction != "none"

    def probabilities(self) -> FloatArray | None:
        """Return the distribution from which cohorts are drawn, shape (clients,), if there is one."""
        return None

    def inclusion(self) -> FloatArray | None:
        """Return each client's probability of being in a cohort, shape (clients,), if it is known."""
        return None

    def weights(self) -> FloatArray | None:
        """Return factors of the clients' aggregation weights, shape (clients,); None for 1."""
        return None


_DOES_NOTHING = ParticipationScheme.observe
