"""A run's model with its weights, the normalisation of its inputs, and the names of its classes."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import UserError
from common.files import expanded
from common.plugins import folders, split_folders, use_folders
from models.architectures.text import TextClassifier
from models.building import build_model
from models.measures.evaluation import logits_of
from models.model_card import ModelCard, read_card
from models.weights.round_weights import round_weights
from models.weights.run_weights import load_run_weights

WEIGHTS = "model.safetensors"


class RunModel(nn.Module):
    """Takes raw inputs, as in the data set's files, and returns logits, or numbers for a regression.

    Attributes
    ----------
    card : ModelCard
        The model's metadata.
    model : nn.Module
        The network, which takes normalised inputs.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(self, card: ModelCard, model: nn.Module) -> None:
        super().__init__()
        self.card = card
        self.model = model
        mean, std = _statistics(card)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty if the model predicts numbers."""
        return self.card.classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (samples, classes), or numbers (samples, numbers).

        Parameters
        ----------
        inputs : Tensor
            Images, uint8 ``(samples, channels, height, width)``; features in the units of the data set's
            files, ``(samples, ...)``; or token ids, ``(samples, length)``.
        """
        logits: Tensor = self.model(self.normalized(inputs))
        return logits

    def normalized(self, inputs: Tensor) -> Tensor:
        """Return raw inputs normalised for the network, bit for bit as during the run.

        Raises
        ------
        UserError
            If they have another shape or type.
        """
        self._check(inputs)
        if self.card.kind == "tokens":
            return inputs.to(torch.int32)
        if self.mean is None or self.std is None:
            return inputs.float()
        if self.card.kind == "images":
            return inputs.to(torch.float32) * self.std + self.mean
        return ((inputs.double() - self.mean) / self.std).float()

    def logits(self, inputs: Any, batch_size: int = 256) -> Tensor:
        """Return the results of ``forward``, batch by batch, in evaluation mode and without gradients.

        Parameters
        ----------
        inputs : Tensor, array or nested lists
            Several samples, or a single one.
        batch_size : int
            Samples per batch.
        """
        values = inputs if isinstance(inputs, Tensor) else torch.from_numpy(_array(inputs, self.card.kind))
        if tuple(values.shape) == self.card.input_shape:
            values = values[None]
        self._check(values)
        return logits_of(self, values, lambda batch: batch, batch_size)

    def probabilities(self, inputs: Any) -> Tensor:
        """Return the probability of each class, (samples, classes).

        Raises
        ------
        UserError
            If the model predicts numbers.
        """
        if self.card.task == "regression":
            raise UserError("this model predicts numbers and has no probabilities: use predict")
        return self.logits(inputs).softmax(dim=1)

    def predict(self, inputs: Any) -> list[Any] | Tensor:
        """Return the name of the most likely class of each sample, or the predicted number or numbers.

        If there is a class for each position, each sample has a list of names.
        """
        logits = self.logits(inputs)
        if self.card.task == "regression":
            return logits.squeeze(1) if self.card.outputs == 1 else logits
        return _named(logits.argmax(dim=1).tolist(), self.classes)

    def _check(self, inputs: Tensor) -> None:
        kind, shape = self.card.kind, self.card.input_shape
        expected = " x ".join(map(str, ("samples", *shape)))
        if tuple(inputs.shape[1:]) != shape:
            raise UserError(f"the model takes {kind} of shape {expected}, not {tuple(inputs.shape)}")
        if kind == "images" and inputs.dtype != torch.uint8:
            found = str(inputs.dtype).removeprefix("torch.")
            raise UserError(f"the model takes raw images, uint8 from 0 to 255, not {found}")
        if kind == "tokens" and inputs.is_floating_point():
            raise UserError("the model takes token ids, which are integers")


def load_run(directory: str | Path, weights: str | Path = "", round: int | None = None) -> RunModel:
    """Load the model of a finished run, without its training data.

    Parameters
    ----------
    directory : str or Path
        The run directory: ``model.json`` and ``model.safetensors`` are read.
    weights : str or Path, optional
        Other weights of that model, such as a client's.
    round : int, optional
        The global model after this round instead of the last one; the run must have kept its checkpoint.

    Raises
    ------
    UserError
        If the run has not finished, its files are inconsistent, there is no checkpoint of the round, or the
        clients keep the whole model and no other weights are given.
    """
    directory = expanded(directory, "the run directory")
    card = read_card(directory)
    if round is not None:
        if weights:
            raise UserError("load_run takes weights or a round, not both")
        weights, card = round_weights(directory, round), card.model_copy(update={"rounds": round})
    _find_plugins(card)
    model = build_model(card.model, card.input_shape, card.outputs, card.parameters, card.seed)
    if card.kept_by_clients and (round is not None or not weights):
        _check_kept(card.kept_by_clients, len(model.state_dict()))
    if isinstance(model, TextClassifier):
        model.every_position = card.every_position
    try:
        load_run_weights(model, card.model, str(weights or directory / WEIGHTS))
    except UserError as error:  # its message names a configuration key, which was not used here
        raise UserError(str(error).removeprefix("model.weights: ")) from None
    return RunModel(card, model)


def _check_kept(kept: int, num_arrays: int) -> None:
    """Refuse a global model that has no trained array, and warn of one in which some are not trained."""
    advice = "for that of a client: --client ID, or weights that 'predict --client ID --weights' wrote"
    if kept == num_arrays:
        raise UserError(f"the clients of this run keep the whole model, and the server has none: {advice}")
    warnings.warn(
        f"{kept} of the {num_arrays} arrays stay with the clients, and this model has initial ones: {advice}",
        stacklevel=3,
    )


def _find_plugins(card: ModelCard) -> None:
    """Also look for the model in the plug-in folders of the run."""
    here = [folder for folder in split_folders(card.plugins) if folder.is_dir()]
    if here:
        use_folders(",".join(map(str, dict.fromkeys([*folders(), *here]))))


def _statistics(card: ModelCard) -> tuple[Tensor | None, Tensor | None]:
    """Return offset and factor for scaled pixels, or mean and standard deviation of features."""
    if card.mean is None or card.std is None:
        return None, None
    try:
        mean = torch.tensor(card.mean, dtype=torch.float64)
        std = torch.tensor(card.std, dtype=torch.float64)
        if card.kind == "features":
            torch.broadcast_to(mean, card.input_shape)
            torch.broadcast_to(std, card.input_shape)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"model.json is damaged: mean and std are not numbers ({error})") from None
    if card.kind != "images":
        return mean, std
    # A constant channel has standard deviation 0, by which it must not be divided.
    std = torch.where(std == 0, 1.0, std)
    return (-mean / std).float().view(-1, 1, 1), (1 / (255 * std)).float().view(-1, 1, 1)


def _array(values: Any, kind: str) -> np.ndarray:
    try:
        array = np.ascontiguousarray(values)
    except ValueError as error:
        raise UserError(f"inputs cannot become an array: {error}") from None
    if array.dtype.kind not in "biuf":
        raise UserError(f"inputs must be numbers, not {array.dtype}")
    if kind == "images" and array.dtype == np.int64 and array.size and 0 <= array.min() <= array.max() <= 255:
        return array.astype(np.uint8)  # lists of integers become int64
    return array


def _named(labels: list[Any], classes: tuple[str, ...]) -> list[Any]:
    return [_named(item, classes) if isinstance(item, list) else classes[item] for item in labels]
