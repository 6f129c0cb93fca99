"""``model.json`` of a run: what is needed to use the model without its training data."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.errors import UserError
from common.files import read_json, write_atomic
from common.sections import NonNegative, Positive, Value

FILE = "model.json"


class Encoding(BaseModel):
    """The encoding of a table's columns as numbers; see `datasets.tables.Encoder`."""

    model_config = ConfigDict(frozen=True)

    columns: list[str]
    means: dict[str, float]
    categories: dict[str, list[str]]
    delimiter: str = Field(",", min_length=1, max_length=1)


class ModelCard(BaseModel):
    """Metadata of a model and its data at the end of a run.

    Attributes
    ----------
    model, parameters : str, dict
        ``model.name`` and ``model.*``, without initial weights from a file.
    input_shape, outputs, every_position : tuple of int, int, bool
        Shape of one sample, number of logits, and whether there are logits for each position.
    kind, task : str
        Kind of the inputs, and whether the targets are classes or numbers.
    classes : tuple of str
        A name for each class; empty if the targets are numbers.
    mean, std : list
        For images, per channel, on [0, 1]; for features, broadcastable to a sample. None if nothing is
        normalised.
    encoding : Encoding or None
        For tables.
    plugins : str
        Folders in which the model may have been found.
    kept_by_clients : int
        Number of arrays that the clients keep to themselves: the run's final model has initial ones.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    model: str
    parameters: dict[str, Value]
    seed: int
    input_shape: tuple[Positive, ...] = Field(min_length=1)
    outputs: Positive
    every_position: bool = False
    kind: Literal["images", "features", "tokens"]
    task: Literal["classification", "regression"]
    classes: tuple[str, ...]
    mean: Any = None
    std: Any = None
    encoding: Encoding | None = None
    plugins: str = ""
    dataset: str
    method: str
    rounds: NonNegative
    kept_by_clients: NonNegative = 0

    @model_validator(mode="after")
    def _check(self) -> "ModelCard":
        if self.task == "classification" and len(self.classes) != self.outputs:
            raise ValueError(f"{len(self.classes)} classes do not fit {self.outputs} outputs")
        if self.kind == "images" and not len(self.mean or ()) == len(self.std or ()) == self.input_shape[0]:
            raise ValueError("mean and std need a number for each channel")
        return self

    def write(self, directory: Path) -> None:
        """Write the card to a run directory."""
        write_atomic(directory / FILE, (self.model_dump_json(indent=2) + "\n").encode())


def read_card(directory: Path) -> ModelCard:
    """Read the card of a run.

    Raises
    ------
    UserError
        If there is no such run, it has not finished, or the file is damaged.
    """
    path = directory / FILE
    if not directory.is_dir():
        raise UserError(f"there is no run directory {directory}")
    if not path.exists():
        raise UserError(
            f"{directory} has no {FILE}: it is not a run directory, or its run has not finished; --resume"
            " finishes it, and writes the file for a run of an earlier version"
        )
    try:
        return ModelCard.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path} is damaged: {place + ': ' if place else ''}{first['msg']}; --resume writes it again"
        ) from None
