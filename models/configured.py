"""The model of a run, as its configuration asks for it."""

from torch import nn

from common.config import Config, drop_inherited_defaults
from common.errors import UserError
from models import build_model, model_parameters
from models.architectures.text import TextClassifier


def build_configured_model(
    config: Config, input_shape: tuple[int, ...], num_classes: int, target_shape: tuple[int, ...] = ()
) -> nn.Module:
    """Build the run's model on the CPU with its initial weights.

    Parameters
    ----------
    config : Config
        The run's configuration.
    input_shape, num_classes, target_shape
        As in the data set; one dimension of the input is a text, one of the target a label per position.

    Raises
    ------
    UserError
        If model or parameters are unknown, or the model does not take such data.
    """
    name = config.model.name
    parameters = drop_inherited_defaults("model", config.model.parameters, model_parameters(name))
    model = build_model(name, input_shape, num_classes, parameters, config.seed)
    if isinstance(model, TextClassifier):
        model.every_position = bool(target_shape)
    elif len(input_shape) == 1:
        raise UserError(
            f"model '{name}' takes no text, which dataset '{config.dataset.name}' is: use 'char-lstm'"
        )
    return model
