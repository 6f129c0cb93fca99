"""What a run asks of a data set of text."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TextRequest:
    """The keys that every data set of text gets; its own parameters come beside them.

    Parameters
    ----------
    root : Path
        The folder of the data.
    num_clients : int or None
        Number of natural clients to keep, the largest; None keeps all.
    validation_fraction : float
        Share of each client's train part to hold out, from its end; 0: none.
    seed : int
        The run's seed.
    """

    root: Path
    num_clients: int | None
    validation_fraction: float
    seed: int
