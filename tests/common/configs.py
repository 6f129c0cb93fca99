from common.config import Config
from common.config_values import merge
from common.sections import Value


def make_config(*layers: dict[str, Value]) -> Config:
    """The defaults with layers on top, as the command line makes them."""
    return Config.from_flat(merge(*layers))
