"""A run's request to a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.sections import Value
from datasets.long_tail import LongTail

Normalization = Literal["dataset", "imagenet", "half", "none"]


@dataclass(frozen=True)
class Request:
    """The keys that every data set gets; its own parameters come in addition.

    Parameters
    ----------
    name : str
        ``dataset.name``, for messages.
    root : Path
        The folder of the data.
    seed : int
        The run's seed.
    num_clients : int or None
        Number of natural clients to keep, the largest; None keeps all.
    validation_fraction : float
        Part of the training set to hold out: stratified by class, of text the end of each client's.
    image_size : int
        Side to which images are resized (shorter side, then centre crop); 0 keeps their size.
    download : bool
        Whether missing files may be fetched.
    long_tail : LongTail or None
        Makes the training set a long-tailed one, before samples are held out of it; statistics of the inputs
        stay those of the whole set.
    normalization : str
        What images are normalised with: the training set's own statistics, those of ImageNet, 0.5 and 0.5, or
        0 and 1. Features know the first and the last.
    numbers : bool or None
        Whether the loss is for numbers; None: for either.
    parameters : mapping
        What the configuration sets of the data set's own parameters, in its spelling.
    """

    name: str
    root: Path
    seed: int = 0
    num_clients: int | None = None
    validation_fraction: float = 0.0
    image_size: int = 0
    download: bool = False
    long_tail: LongTail | None = None
    normalization: Normalization = "dataset"
    numbers: bool | None = None
    parameters: Mapping[str, Value] = field(default_factory=dict)
