"""A run's request for a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.sections import Value
from datasets.long_tail import LongTail

Normalization = Literal["dataset", "imagenet", "half", "none"]


@dataclass(frozen=True)
class Request:
    """The settings that every data set receives, in addition to its own parameters.

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
        Share of the training set to hold out: stratified by class; for text, the end of each client's.
    validation_seed : int or None
        Seed of that split; None: the run's.
    image_size : int
        Side to which images are resized (shorter side, then centre crop); 0 keeps their size.
    download : bool
        Whether missing files may be fetched.
    long_tail : LongTail or None
        Makes the training set long-tailed, before samples are held out of it; statistics of the inputs
        remain those of the whole set.
    normalization : str
        Statistics to normalise images with: those of the training set, those of ImageNet, 0.5 and 0.5, or
        0 and 1. Features support the first and the last.
    numbers : bool or None
        Whether the loss is for regression; None: it may be for either.
    parameters : mapping
        The data set's own parameters that the configuration sets, spelled as there.
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
    validation_seed: int | None = None

    @property
    def split_seed(self) -> int:
        """The seed by which samples are held out for validation."""
        return self.seed if self.validation_seed is None else self.validation_seed
