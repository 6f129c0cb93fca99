"""The model of a run, as its configuration asks for it."""

from torch import nn

from common.config import Config, drop_inherited_defaults
from common.errors import UserError
from models.architectures.text import TextClassifier
from models.building import build_model, model_parameters


def build_configured_model(
    config: Config,
    input_shape: tuple[int, ...],
    num_classes: int,
    target_shape: tuple[int, ...] = (),
    is_text: bool | None = None,
) -> nn.Module:
    """Build the run's model on the CPU with its initial weights.

    Parameters
    ----------
    config : Config
        The run's configuration.
    input_shape, num_classes, target_shape
        As in the data set, the outputs if it has numbers; a dimension of the target is a label per position.
    is_text : bool, optional
        Whether the inputs are token ids; by default if they have one dimension.

    Raises
    ------
    UserError
        If model or parameters are unknown, or the model does not take such data.
    """
    name = config.model.name
    parameters = drop_inherited_defaults("model", config.model.parameters, model_parameters(name))
    model = build_model(name, input_shape, num_classes, parameters, config.seed)
    if isinstance(model, TextClassifier) and is_text is False:
        raise UserError(
            f"model '{name}' takes text, and dataset '{config.dataset.name}' has features: use 'mlp' or"
            " 'linear', or say that they are tokens with dataset.kind = 'tokens'"
        )
    if isinstance(model, TextClassifier):
        model.every_position = bool(target_shape)
    elif (len(input_shape) == 1 if is_text is None else is_text) and _is_ours(model):
        raise UserError(
            f"model '{name}' takes no text, which dataset '{config.dataset.name}' is: use 'char-lstm'"
        )
    return model


def _is_ours(model: nn.Module) -> bool:
    """Return whether a model is of this project; what another one takes is its author's to say."""
    return type(model).__module__.partition(".")[0] == "models"
