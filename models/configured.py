"""The model of a run, as its configuration asks for it."""

from torch import nn

from common.config import Config, drop_inherited_defaults
from models import build_model, model_parameters


def build_configured_model(config: Config, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """Build the run's model on the CPU with its initial weights."""
    name = config.model.name
    parameters = drop_inherited_defaults("model", config.model.parameters, model_parameters(name))
    return build_model(name, input_shape, num_classes, parameters, config.seed)
