"""What a method says about the configuration: the keys that it sets itself, and those without effect."""

from collections.abc import Container, Mapping

import torch

from clients.local.attacks import Attack
from clients.local.optimizers import make_optimizer
from clients.registry import Method, load_method, method_of, unused_key
from common.chosen import chosen_function, chosen_object
from common.compressions import NONE, Compression, compression_of
from common.config import Config, is_key
from common.config_differences import differences
from common.defaults import default_values
from common.errors import NoEffectError, UserError, nearest, shown
from common.parameters import Declared, check_needs, class_parameters, function_parameters
from common.plugin_kinds import ATTACK, AUGMENTATION, LOSS, OPTIMIZER
from common.sections import Value
from common.topologies import topology_function


def complete(config: Config, given: Container[str] = ()) -> Config:
    """Fill in the method's own defaults for keys that the configuration does not set (``Client.DEFAULTS``).

    The keys in `given` have been set by a user, whatever their value.

    Raises
    ------
    NoEffectError
        If a key is set that has no effect with the method.
    UserError
        If the method, or another part that clients train with, does not exist or has other parameters.
    """
    make_optimizer([torch.zeros(1, requires_grad=True)], config.optimizer)
    declared_for_training(config)
    method = method_of(config)
    check_needs(method.declared, method.parameters, method.needs, given)
    _check_topology(config, method, given)
    _check_compression(config, method)
    if method.parameters.get("personal_part") == "all":
        check_without_model(config)
    _check_unused(config, method, given)
    values = config.flat()
    missing = {key: value for key, value in _defaults(method).items() if key not in values}
    try:
        return Config.from_flat({**values, **missing}) if missing else config
    except UserError as error:
        raise UserError(f"the DEFAULTS of {method.client_class.__name__}: {error}") from None


def _defaults(method: Method) -> Mapping[str, Value]:
    """Return the method's own defaults for keys of the configuration; refuse those that it cannot set."""
    defaults, name = method.defaults, method.client_class.__name__
    if not isinstance(defaults, Mapping):
        raise UserError(
            f"what {name}.defaults returns must be a mapping of keys to values, not {shown(defaults)}"
        )
    for key in defaults:
        if key in default_values() or str(key).startswith("method."):
            raise UserError(
                f"the DEFAULTS of {name} have {shown(key)}, which has a default: a method sets only"
                " parameters of what a run chooses by name, such as model.projection"
            )
    return defaults


def declared_for_training(config: Config) -> dict[str, Declared]:
    """Return the parameters of what clients train with, by the section that names it.

    Raises
    ------
    UserError
        If there is no such thing or parameter, or a value is out of range.
    """
    functions = {
        "optimizer": chosen_function(OPTIMIZER, config.optimizer),
        "loss": chosen_function(LOSS, config.loss),
        "augmentation": chosen_function(AUGMENTATION, config.augmentation),
    }
    attack = chosen_object(ATTACK, config.attack, Attack)
    compression = compression_of(config) or Compression()
    return {
        "method": method_of(config).declared,
        "attack": class_parameters(type(attack)),
        "compression": class_parameters(type(compression)),
        **{section: function_parameters(found.func) for section, found in functions.items()},
    }


def _check_topology(config: Config, method: Method, given: Container[str]) -> None:
    """Refuse a topology if clients do not communicate with each other, or if its parameters do not exist."""
    if method.is_decentralised:
        topology_function(config.topology)
        return
    defaults = default_values()
    for name, value in config.topology.model_dump(by_alias=True).items():
        if (key := f"topology.{name}") in given or value != defaults.get(key):
            raise NoEffectError(
                key,
                f"{key} = {value!r} would have no effect: clients of '{config.method.name}' talk to the"
                " server only; choose a decentralised method such as 'gossip-sgd', or leave it out",
            )


def _check_compression(config: Config, method: Method) -> None:
    """Refuse compression where clients send their models to each other, or hold parts of them that change."""
    name = config.compression.name
    if name != NONE and method.is_decentralised:
        raise NoEffectError(
            "compression.name",
            f"compression.name '{name}' is for what clients send to the server, and clients of"
            f" '{config.method.name}' send their models to each other: leave it out",
        )
    if config.compression.error_feedback and config.model.sizes:
        raise UserError(
            "compression.error-feedback keeps what was left out of each array of the whole model, and with"
            " model.sizes clients hold parts of it: leave one of them out"
        )


def _check_unused(config: Config, method: Method, given: Container[str]) -> None:
    """Refuse keys that have no effect with the method."""
    values, defaults = config.flat(), default_values()
    for key, why in method.strategy_class.UNUSED.items():
        section, _, parameter = key.partition(".")
        is_own = hasattr(method.strategy_class, parameter.replace("-", "_"))
        if not (is_own if section == "method" else is_key(key)):
            known = [*defaults, *(f"method.{name.replace('_', '-')}" for name in method.declared)]
            place = f"{method.strategy_class.__name__}.UNUSED"
            raise UserError(f"{place} has {shown(key)}, which is no key{nearest(key, known)}")
        if values.get(key) and (key in given or values[key] != defaults.get(key)):
            raise unused_key(key, values[key], config.method.name, why)


def run_differences(old: Config, new: Config) -> list[str]:
    """Return the keys in which two configurations differ, of those that affect the result of a run."""
    method = load_method(new.method.name, new.method.parameters)
    return differences(old, new, method.depends_on_rounds)


def check_without_model(config: Config) -> None:
    """Refuse keys that change, weigh or measure what is sent of the model: clients keep it whole.

    An attack on what clients train on counts for their own models, too.
    """
    attack = type(chosen_object(ATTACK, config.attack, Attack))
    idle = {
        "compression.name": config.compression.name != NONE,
        "attack.name": attack.model is not Attack.model and attack.labels is Attack.labels,
        "privacy.clipping": config.privacy.clipping != "off",
        "batch-norm.policy": config.batch_norm.policy == "recalibrate",
        "participation.correction": config.participation.parameters.get("correction", "none") != "none",
        "analysis.sharpness-images": config.analysis.sharpness_images > 0,
    }
    for key, is_set in idle.items():
        if is_set:
            raise NoEffectError(
                key,
                f"{key} = {config.flat()[key]!r} would have no effect: clients of '{config.method.name}' keep"
                " the whole model; leave it out",
            )
