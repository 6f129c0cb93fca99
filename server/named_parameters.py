"""Parameters of what a configuration names, validated without data, so that a sweep can sort them."""

from common.config import Config, drop_inherited_defaults
from common.errors import InapplicableKeyError
from common.methods import complete
from datasets.partitions import parse_arguments
from datasets.scheme import Scheme
from models import model_parameters
from server.participation import Participation


def check_parameters(config: Config) -> None:
    """Validate the parameters of what a configuration names, without data.

    Raises
    ------
    UserError
        If a name or a parameter is wrong.
    """
    complete(config)
    Participation(config)
    partition = Scheme.of(config)
    parse_arguments(partition.name, partition.arguments())
    known = model_parameters(config.model.name)
    for key in drop_inherited_defaults("model", config.model.parameters, known):
        if key not in known:
            raise InapplicableKeyError(
                f"model.{key}", f"'{config.model.name}' has no parameter 'model.{key}' (it has: {known})"
            )
