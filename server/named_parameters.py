"""The parameters of everything that a configuration chooses by name, without data."""

from collections.abc import Container

from clients._configuration import complete, declared_for_training, run_differences
from clients.registry import method_of
from common.clocks import clock_profile
from common.config import Config
from common.defaults import default_values, drop_inherited_defaults
from common.errors import NoEffectError
from common.inactive import check_active
from common.parameters import Declared, class_parameters, function_parameters, parse_parameters
from common.plugin_kinds import DATASET
from common.plugins import find_function
from common.schedules import schedule_of
from common.sections import OpenSection, Value
from common.step_rules import step_rule
from common.topologies import topology_function
from datasets.partition_scheme import PartitionScheme
from datasets.partitions import parse_arguments, partition_parameters
from models import model_parameters
from server.participation import Participation, scheme_class, weighs_uniformly


def check_parameters(config: Config, given: Container[str] = ()) -> None:
    """Validate the parameters of everything that a configuration names.

    Parameters
    ----------
    config : Config
        The configuration.
    given : container of str
        The keys that a user has set: they are refused if they have no effect, whatever their values. Other
        keys are refused only if they differ from their defaults.

    Raises
    ------
    UserError
        If a name or a parameter is wrong.
    """
    complete(config, given)
    Participation(config)
    partition = PartitionScheme.of(config)
    parse_arguments(partition.name, partition.arguments())
    for key, declared in _declared(config).items():
        section = _section(config, key)
        unknown = {
            name: value
            for name, value in section.parameters.items()
            if name not in _defaults(declared)
            and (f"{key}.{name}" in given or name in _own(config, key, declared))
        }
        if unknown:
            parse_parameters(key, section.choice, declared, unknown, section.fixed_keys())


def without_idle_keys(config: Config, given: Container[str] = ()) -> Config:
    """Validate a configuration, and reset the keys without effect that no user has set.

    Those of a stored configuration may be ones that an earlier version took without a word.

    Parameters
    ----------
    config : Config
        The configuration.
    given : container of str
        The keys that a user has set.

    Raises
    ------
    NoEffectError
        If a key that a user has set has no effect.
    UserError
        If a name or a parameter is wrong.
    """
    values = config.flat()
    while True:
        try:
            check_active(values, given)
            check_parameters(config, given)
        except NoEffectError as error:
            section, _, name = error.key.partition(".")
            idle = [error.key]
            if name in ("name", "clipping"):  # with it go the other keys of its section
                idle = [key for key in values if key.startswith(f"{section}.")]
            if any(key in given for key in idle):
                raise
            defaults = default_values()
            values = {key: value for key, value in values.items() if key not in idle}
            values |= {key: defaults[key] for key in idle if key in defaults}
            config = Config.from_flat(values)
        else:
            return config


def without_inherited(config: Config) -> dict[str, Value]:
    """Return the flat configuration without defaults of ``pyproject.toml`` for things that it does not name.

    ``partition.alpha`` is there for ``dirichlet``, for example.
    """
    values = config.flat()
    for key, declared in _declared(config).items():
        for name in _section(config, key).parameters.keys() - _own(config, key, declared).keys():
            del values[f"{key}.{name}"]
    return values


def defaults_of_named(config: Config) -> dict[str, Value]:
    """Return the defaults, by dotted key, of the parameters of everything that a configuration names."""
    defaults = {
        f"{key}.{name}": default
        for key, declared in _declared(config).items()
        for name, default in _defaults(declared).items()
        if isinstance(default, Value)
    }
    if weighs_uniformly(config) and "method.weighting" in defaults:
        defaults["method.weighting"] = "uniform"
    return defaults


def resolved(config: Config) -> Config:
    """Return the configuration with all parameters of everything that it names."""
    return Config.from_flat({**defaults_of_named(config), **without_inherited(config)})


def differences(old: Config, new: Config) -> list[str]:
    """Return the differences of two configurations that affect the result of a run.

    A parameter that only one of them sets, to its default, is none.
    """
    found = run_differences(old, new)
    if not found or any(_section(old, key).choice != _section(new, key).choice for key in _declared(new)):
        return found
    return run_differences(resolved(old), resolved(new))


def _declared(config: Config) -> dict[str, Declared]:
    """Return the parameters of everything that is named, by its section."""
    declared = {
        **declared_for_training(config),
        "participation": class_parameters(scheme_class(config)),
        "partition": partition_parameters(config.partition.name),
        "model": model_parameters(config.model.name),
        "dataset": function_parameters(find_function(DATASET, config.dataset.name)),
        "clock": function_parameters(clock_profile(config.clock).func),
        "schedule": class_parameters(type(schedule_of(config.schedule))),
        "steps": class_parameters(type(step_rule(config.steps))),
    }
    if method_of(config).is_decentralised:
        declared["topology"] = function_parameters(topology_function(config.topology).func)
    return declared


def _section(config: Config, key: str) -> OpenSection:
    section: OpenSection = getattr(config, key)
    return section


def _own(config: Config, key: str, declared: Declared) -> dict[str, Value]:
    """Return the parameters in a section less the defaults of things that it does not name."""
    return drop_inherited_defaults(key, _section(config, key).parameters, declared)


def _defaults(declared: Declared) -> dict[str, object]:
    """Return the defaults of parameters by their names in the configuration."""
    return {name.replace("_", "-"): default for name, (_, default) in declared.items()}
