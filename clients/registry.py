"""Finds methods: up to two files with the same name, ``strategies/<name>.py`` and ``clients/<name>.py``.

A missing half is FedAvg's. ``flwr:<Class>`` is a strategy that ships with Flower.
"""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clients
import strategies
from clients.base import Client
from common.chosen import Items, Same, cache_items
from common.config import Config
from common.defaults import drop_inherited_defaults
from common.errors import NoEffectError, UserError
from common.overrides import check_overrides
from common.package_modules import available_plugins, find_class
from common.parameters import Declared, Needs, class_parameters, parse_parameters
from common.plugin_kinds import CLIENT_HALF, SERVER_HALF
from common.plugins import FLOWER_PREFIX, Found, class_of, find, folders, names, subclass_of, unknown
from common.returned import check_flag
from common.sections import Value
from strategies._decentralised import Decentralised
from strategies._flower import FlowerStrategy
from strategies._flower_names import flower_class, flower_parameters
from strategies.fedavg import FedAvg


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
    def is_decentralised(self) -> bool:
        """Whether clients communicate with each other, over the links of ``topology.*``."""
        return issubclass(self.strategy_class, Decentralised)

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


def load_method(name: str, parameters: Mapping[str, Value]) -> Method:
    """Find both halves of a method and validate its parameters.

    Raises
    ------
    UserError
        Unknown method (with the nearest name), unknown parameter, or a value out of range. Whether a
        parameter has an effect is checked by ``clients._configuration.complete``.
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
            raise unused_key(f"method.{key}", value, name, why)
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


def unused_key(key: str, value: Value, method: str, why: str) -> NoEffectError:
    """Return the error for a key that has no effect with a method."""
    return NoEffectError(
        key, f"{key} = {value!r} would have no effect with method.name '{method}', {why}: leave it out"
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
