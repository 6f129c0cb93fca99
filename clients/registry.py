"""Finds methods: up to two files with the same name, ``strategies/<name>.py`` and ``clients/<name>.py``.

A missing half is FedAvg's. ``flwr:<Class>`` is a strategy that ships with Flower.
"""

import functools
import inspect
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import flwr.serverapp.strategy as flower_strategies
import torch
from flwr.serverapp.strategy import Strategy

import clients
import strategies
from clients.base import Client
from clients.local.attacks import Attack
from clients.local.optimizers import make_optimizer
from common.chosen import Items, Same, cache_items, chosen_function, chosen_object
from common.config import Config, differences, is_key
from common.defaults import default_values, drop_inherited_defaults
from common.errors import InapplicableKeyError, UserError, nearest, shown
from common.flower_limits import FIXED, LIMITS
from common.overrides import check_overrides
from common.parameters import (
    Declared,
    Needs,
    check_needs,
    class_parameters,
    function_parameters,
    parse_parameters,
)
from common.plugin_kinds import ATTACK, AUGMENTATION, CLIENT_HALF, LOSS, OPTIMIZER, SERVER_HALF
from common.plugins import (
    FLOWER_PREFIX,
    Found,
    available_plugins,
    class_of,
    find,
    find_class,
    folders,
    names,
    subclass_of,
    unknown,
)
from common.returned import check_flag
from common.sections import Value
from common.topologies import topology_function
from strategies._decentralised import Decentralised
from strategies._flower import EVERYONE, FlowerStrategy
from strategies._q_fedavg import QFedAvg
from strategies.fedavg import FedAvg

T = TypeVar("T")

# Those that weight replies, with their default; the others, such as medians, weight all replies equally.
_WEIGHTING = {
    **dict.fromkeys(("FedAvg", "FedAvgM", "FedAdagrad", "FedAdam", "FedYogi", "MultiKrum"), "examples"),
    "QFedAvg": "uniform",
}


@dataclass(frozen=True)
class Method:
    """The two halves of a method with their validated parameters."""

    name: str
    strategy_class: type[FedAvg]
    client_class: type[Client]
    strategy_parameters: Mapping[str, Any]
    client_parameters: Mapping[str, Any]
    declared: Declared

    @property
    def defaults(self) -> Mapping[str, Value]:
        """The method's own defaults for keys of the configuration."""
        return self.client_class.defaults(self.client_parameters)

    @property
    def depends_on_rounds(self) -> bool:
        """Whether what the method does in a round depends on the total number of rounds."""
        what = f"what {self.client_class.__name__}.depends_on_rounds returns"
        return check_flag(self.client_class.depends_on_rounds(self.client_parameters), what)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of both halves."""
        return {**self.strategy_parameters, **self.client_parameters}

    @property
    def needs(self) -> Mapping[str, Needs]:
        """Parameter → the condition for it to have an effect, of both halves."""
        return {**self.strategy_class.NEEDS, **self.client_class.NEEDS}

    @property
    def example(self) -> Mapping[str, Value]:
        """Keys of a small example run of the method."""
        return {**self.strategy_class.EXAMPLE, **self.client_class.EXAMPLE}

    def make_strategy(self) -> FedAvg:
        """Build the server half.

        Raises
        ------
        UserError
            If its ``__init__`` does not set what every server half has, or its parameters.
        """
        strategy = self.strategy_class(**self.strategy_parameters)
        needed = {*vars(FedAvg()), *class_parameters(self.strategy_class)}
        if missing := sorted(needed - vars(strategy).keys(), key=lambda name: name.startswith("_")):
            raise UserError(
                f"{self.strategy_class.__name__}.__init__ must call super().__init__(**parameters), which"
                f" sets '{missing[0]}' and more"
            )
        return strategy


def available_methods() -> list[str]:
    """List the methods that have a file in ``strategies/`` or ``clients/``."""
    own = {*available_plugins(strategies), *available_plugins(clients)}
    methods = {*available_plugins(strategies, FedAvg), *available_plugins(clients, Client)} - {"base"}
    return sorted(methods | ({*names(CLIENT_HALF), *names(SERVER_HALF)} - own))


def complete(config: Config, given: Container[str] = ()) -> Config:
    """Fill in the method's own defaults for keys that the configuration does not set (``Client.DEFAULTS``).

    The keys in `given` have been set by a user, whatever their value.

    Raises
    ------
    InapplicableKeyError
        If a key is set that has no effect with the method.
    UserError
        If the method, or another part that clients train with, does not exist or has other parameters.
    """
    make_optimizer([torch.zeros(1, requires_grad=True)], config.optimizer)
    declared_for_training(config)
    method = method_of(config)
    check_needs("method", method.declared, method.parameters, method.needs, given)
    _check_topology(config, method, given)
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
    return {
        "method": method_of(config).declared,
        "attack": class_parameters(type(attack)),
        **{section: function_parameters(found.func) for section, found in functions.items()},
    }


def _check_topology(config: Config, method: Method, given: Container[str]) -> None:
    """Refuse a topology if clients do not communicate with each other, or if its parameters do not exist."""
    if issubclass(method.strategy_class, Decentralised):
        topology_function(config.topology)
        return
    defaults = default_values()
    for name, value in config.topology.model_dump(by_alias=True).items():
        if (key := f"topology.{name}") in given or value != defaults.get(key):
            raise InapplicableKeyError(
                key,
                f"{key} = {value!r} would have no effect: clients of '{config.method.name}' talk to the"
                " server only; choose a decentralised method such as 'gossip-sgd', or leave it out",
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
            raise _unused(key, values[key], config.method.name, why)


def _unused(key: str, value: Value, method: str, why: str) -> InapplicableKeyError:
    return InapplicableKeyError(
        key, f"{key} = {value!r} would have no effect with method.name '{method}', {why}: leave it out"
    )


def run_differences(old: Config, new: Config) -> list[str]:
    """Return the keys in which two configurations differ, of those that affect the result of a run."""
    method = load_method(new.method.name, new.method.parameters)
    return differences(old, new, method.depends_on_rounds)


def load_method(name: str, parameters: Mapping[str, Value]) -> Method:
    """Find both halves of a method and validate its parameters.

    Raises
    ------
    UserError
        Unknown method (with the nearest name), unknown parameter, or a value out of range. Whether a
        parameter has an effect is checked by ``complete``.
    """
    return _load_method(name, cache_items(parameters), tuple(folders()))


def method_of(config: Config) -> Method:
    """Return ``load_method`` of a configuration, cached for the next job."""
    return _method_of(Same(config.method), tuple(folders()))


@functools.lru_cache(maxsize=8)
def _method_of(same: Same, _searched: tuple[Path, ...]) -> Method:
    return load_method(same.section.choice, same.section.parameters)


@functools.lru_cache(maxsize=8)
def _load_method(name: str, items: Items, _searched: tuple[Path, ...]) -> Method:
    given = {key: value for key, value, _ in items}
    if name.startswith(FLOWER_PREFIX):
        return _flower_method(name, given)
    strategy_class, client_class = _find_halves(name)
    if name == "base" or not (strategy_class or client_class):
        raise unknown(CLIENT_HALF, name, [*available_methods(), "flwr:<Strategy>"])
    strategy_class, client_class = strategy_class or FedAvg, client_class or Client
    for key, value in given.items():
        if why := strategy_class.UNUSED.get(f"method.{key}"):
            raise _unused(f"method.{key}", value, name, why)
    of_strategy, of_client = class_parameters(strategy_class), class_parameters(client_class)
    _check_free(strategy_class, of_strategy)
    for key in of_strategy.keys() & of_client.keys():
        if of_strategy[key][1] != of_client[key][1]:
            raise UserError(
                f"'{name}': the parameter '{key}' has another default in {strategy_class.__name__} than"
                f" in {client_class.__name__}: both halves get the same value, so declare the same"
            )
    declared = Declared({**of_strategy, **of_client})
    declared.untyped = {**of_strategy.untyped, **of_client.untyped}
    values = parse_parameters("method", name, declared, drop_inherited_defaults("method", given, declared))
    return Method(
        name,
        strategy_class,
        client_class,
        {key: values[key] for key in of_strategy},
        {key: values[key] for key in of_client},
        declared,
    )


def _check_free(strategy_class: type[FedAvg], parameters: Mapping[str, Any]) -> None:
    """Refuse a parameter of the server half with the name of an attribute that it has already."""
    if taken := sorted(parameters.keys() & vars(FedAvg()).keys()):
        raise UserError(
            f"the parameter '{taken[0]}' of {strategy_class.__name__} has the name of an attribute that every"
            " server half has: choose another"
        )


def _find_halves(name: str) -> tuple[type[FedAvg] | None, type[Client] | None]:
    """Return the server half and the client half of a method, if it has them."""
    server, client = find(SERVER_HALF, name), find(CLIENT_HALF, name)
    if ":" in name and server:
        return _halves_of_object(name, server)
    strategy_class = subclass_of(SERVER_HALF, server, FedAvg) if server else None
    client_class = subclass_of(CLIENT_HALF, client, Client) if client else None
    if strategy_class and client_class and server and client and server.origin != client.origin:
        places = " and in ".join(found.origin or "the project" for found in (server, client))
        raise UserError(f"method.name: there is a method '{name}' in {places}: rename one of them")
    return strategy_class, client_class


def _halves_of_object(name: str, found: Found) -> tuple[type[FedAvg] | None, type[Client] | None]:
    """Return the half that ``package.module:Name`` names, and the other half if its module defines it."""
    strategy_class, client_class = class_of(found, FedAvg), class_of(found, Client)
    if not (strategy_class or client_class):
        raise UserError(f"method.name: '{name}' is not a subclass of FedAvg nor of Client")
    if not found.is_module:
        module = sys.modules[found.thing.__module__]
        strategy_class = strategy_class or find_class(module, FedAvg)
        client_class = client_class or find_class(module, Client)
    if strategy_class:
        check_overrides(strategy_class, FedAvg, SERVER_HALF.key)
    if client_class:
        check_overrides(client_class, Client, CLIENT_HALF.key)
    return strategy_class, client_class


def available_flower_strategies() -> list[str]:
    """List the strategies of Flower that can be used by name, as ``flwr:<Class>``."""
    return [
        FLOWER_PREFIX + key
        for key, cls in vars(flower_strategies).items()
        if inspect.isclass(cls)
        and issubclass(cls, Strategy)
        and cls is not Strategy
        and _takes_only_values(cls)
    ]


def flower_class(name: str) -> type[Strategy]:
    """Return the class of ``flwr:<Class>``.

    Raises
    ------
    UserError
        If Flower has none that can be used by name.
    """
    class_name = name.removeprefix(FLOWER_PREFIX)
    if name not in (available := available_flower_strategies()):
        usable = [other.removeprefix(FLOWER_PREFIX) for other in available]
        raise UserError(
            f"method.name: Flower has no strategy '{class_name}' that can be used by name"
            f"{nearest(class_name, usable)} (available: {', '.join(available)})"
        )
    return QFedAvg if class_name == "QFedAvg" else getattr(flower_strategies, class_name)  # type: ignore[no-any-return]


def _flower_method(name: str, given: dict[str, Value]) -> Method:
    declared = Declared(flower_parameters(name))
    parameters: dict[str, Any] = {
        "inner_class": flower_class(name),
        "weighs_replies": "weighting" in declared,
        **parse_parameters("method", name, declared, given),
    }
    try:
        FlowerStrategy(**parameters)
    except (TypeError, ValueError) as error:
        raise UserError(f"'{name}' does not accept these parameters: {error}") from None
    return Method(name, FlowerStrategy, Client, parameters, {}, declared)


def flower_parameters(name: str) -> dict[str, tuple[Any, Any]]:
    """Return the parameters of ``flwr:<Class>`` that users may set: name → (annotation, default)."""
    cls = flower_class(name)
    hints = get_type_hints(cls.__init__)
    declared: dict[str, tuple[Any, Any]] = {
        key: (
            LIMITS.get(key, hints.get(key, Any)),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for key, parameter in inspect.signature(cls).parameters.items()
        if key not in EVERYONE and key not in FIXED and hints.get(key) in (bool, int, float, str)
    }
    if weighting := _WEIGHTING.get(name.removeprefix(FLOWER_PREFIX)):
        declared["weighting"] = (Literal["examples", "uniform"], weighting)
    else:
        declared.pop("weighted_by_key", None)
    return declared


def _takes_only_values(strategy_class: type[Strategy]) -> bool:
    """Exclude wrappers of strategies, tree boosters, and FedProx, for which Flower has no client half."""
    name, signature = strategy_class.__name__, inspect.signature(strategy_class).parameters
    return (
        "strategy" not in signature
        and set(EVERYONE) <= set(signature)
        and "Xgb" not in name
        and name != "FedProx"
    )
