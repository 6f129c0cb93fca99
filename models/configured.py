"""Build the model that a run's configuration asks for."""

from torch import nn

from common.config import Config
from common.defaults import drop_inherited_defaults
from common.errors import UserError
from common.sections import Value
from models.architectures.text import TextClassifier
from models.building import build_model, model_parameters


def build_configured_model(
    config: Config,
    input_shape: tuple[int, ...],
    num_classes: int,
    target_shape: tuple[int, ...] = (),
    is_text: bool | None = None,
    num_tokens: int = 0,
) -> nn.Module:
    """Build the run's model on the CPU with its initial weights.

    Parameters
    ----------
    config : Config
        The run's configuration.
    input_shape, num_classes, target_shape
        As in the data set; for a regression `num_classes` is the number of outputs. A target with a dimension
        has one label per position.
    is_text : bool, optional
        Whether the inputs are token ids; by default, whether they have one dimension.
    num_tokens : int
        Size of the vocabulary; 0: as many as outputs.

    Raises
    ------
    UserError
        If the model or a parameter is unknown, or the model does not take such data.
    """
    name = config.model.name
    parameters = data_parameters(config, num_tokens)
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


def num_outputs(config: Config, of_data: int, num_tokens: int = 0) -> int:
    """Return the number of logits: as many as the data need, or ``model.outputs`` if that is larger."""
    return max(of_data, int(data_parameters(config, num_tokens).get("outputs", 0)))


def data_parameters(config: Config, num_tokens: int) -> dict[str, Value]:
    """Return the configured parameters of the model, with the vocabulary size of the data.

    Raises
    ------
    UserError
        If tokens and outputs differ, and the model does not have a parameter for so large a vocabulary.
    """
    name = config.model.name
    known = model_parameters(name)
    parameters = drop_inherited_defaults("model", config.model.parameters, known)
    if not num_tokens:
        return parameters
    if "tokens" not in known:
        raise UserError(
            f"model '{name}' does not take the words of dataset '{config.dataset.name}': it has no parameter"
            " 'tokens', the number of words; use 'sentence-rnn' or 'char-lstm'"
        )
    tokens = parameters.get("tokens") or num_tokens
    if isinstance(tokens, int) and tokens < num_tokens:
        raise UserError(f"model.tokens = {tokens} is below the data's {num_tokens} words: raise it, or 0")
    return {**parameters, "tokens": tokens}


def _is_ours(model: nn.Module) -> bool:
    """Return whether a model belongs to this project; the inputs of others are not checked."""
    return type(model).__module__.partition(".")[0] == "models"
