"""Validates the parameters of everything that a configuration names, without data, for sweeps."""

from clients.registry import complete
from common.config import Config
from common.defaults import drop_inherited_defaults
from common.errors import InapplicableKeyError
from datasets.partition_scheme import PartitionScheme
from datasets.partitions import parse_arguments
from models import model_parameters
from server.participation import Participation


def check_parameters(config: Config) -> None:
    """Validate the parameters of everything that a configuration names, without data.

    Raises
    ------
    UserError
        If a name or a parameter is wrong.
    """
    complete(config)
    Participation(config)
    partition = PartitionScheme.of(config)
    parse_arguments(partition.name, partition.arguments())
    known = model_parameters(config.model.name)
    for key in drop_inherited_defaults("model", config.model.parameters, known):
        if key not in known:
            raise InapplicableKeyError(
                f"model.{key}", f"'{config.model.name}' has no parameter 'model.{key}' (it has: {known})"
            )
