"""The contents of a run's ``model.json``."""

from dataclasses import asdict

from torch import Tensor

from common.config import Config
from datasets.dataset import Dataset
from models.configured import data_parameters, num_outputs
from models.model_card import Encoding, ModelCard


def model_card(config: Config, dataset: Dataset, rounds: int, kept_by_clients: int = 0) -> ModelCard:
    """Return the card of a run's model after `rounds` rounds."""
    name = config.model.name
    parameters = data_parameters(config, dataset.num_tokens)
    is_images = dataset.kind == "images"
    outputs = num_outputs(config, dataset.num_outputs, dataset.num_tokens)
    return ModelCard(
        model=name,
        parameters={key: value for key, value in parameters.items() if key != "weights"},
        seed=config.seed,
        input_shape=dataset.input_shape,
        outputs=outputs,
        every_position=bool(dataset.target_shape),
        kind=dataset.kind,
        task="regression" if dataset.is_regression else "classification",
        classes=() if dataset.is_regression else _names(dataset, outputs),
        mean=list(dataset.mean) if is_images else _listed(dataset.feature_mean),
        std=list(dataset.std) if is_images else _listed(dataset.feature_std),
        encoding=_encoding(config, dataset),
        plugins=config.plugins,
        dataset=config.dataset.name,
        method=config.method.name,
        rounds=rounds,
        kept_by_clients=kept_by_clients,
    )


def _names(dataset: Dataset, outputs: int) -> tuple[str, ...]:
    """Return a name for each logit; with ``model.outputs`` there may be more logits than classes."""
    names = dataset.class_names
    return (*names, *(f"no class ({index})" for index in range(len(names), outputs)))


def _listed(values: Tensor | None) -> list[float] | None:
    return None if values is None else values.tolist()


def _encoding(config: Config, dataset: Dataset) -> Encoding | None:
    if dataset.encoder is None:
        return None
    delimiter = config.dataset.parameters.get("delimiter", ",")
    return Encoding(**asdict(dataset.encoder), delimiter=str(delimiter))
