"""A method = up to two files of one name: ``strategies/<name>.py`` and ``clients/<name>.py``.

The half that a method does not have is FedAvg's. ``flwr:<Class>`` takes a strategy that ships with Flower.
"""

import functools
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import flwr.serverapp.strategy as flower_strategies
import torch
from flwr.serverapp.strategy import Strategy

import clients
import strategies
from clients.base import Client
from clients.local.optimizers import make_optimizer
from common.chosen import chosen_function
from common.config import Config, drop_inherited_defaults
from common.errors import UserError, nearest
from common.parameters import class_parameters, parse_parameters
from common.plugins import (
    AUGMENTATION,
    CLIENT_HALF,
    LOSS,
    SERVER_HALF,
    Found,
    Kind,
    available_plugins,
    class_of,
    find,
    find_class,
    folders,
    names,
    unknown,
    where,
)
from common.sections import Value
from strategies.fedavg import FedAvg

T = TypeVar("T")

FLOWER_PREFIX = "flwr:"
# Our loop hands a strategy exactly the clients that it is to address.
_EVERYONE: dict[str, Any] = {
    "fraction_train": 1.0,
    "fraction_evaluate": 1.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
}


@dataclass(frozen=True)
class Method:
    """The two halves of a method with their validated parameters."""

    name: str
    strategy_class: type[Strategy]
    client_class: type[Client]
    strategy_parameters: Mapping[str, Any]
    client_parameters: Mapping[str, Any]

    @property
    def defaults(self) -> Mapping[str, Value]:
        """Keys of the configuration for which the method has defaults of its own."""
        return self.client_class.defaults(self.client_parameters)

    def make_strategy(self) -> Strategy:
        """Build the server half."""
        return self.strategy_class(**self.strategy_parameters)


def available_methods() -> list[str]:
    """List the methods that have a file in ``strategies/`` or ``clients/``."""
    own = {*available_plugins(strategies), *available_plugins(clients)}
    methods = {*available_plugins(strategies, FedAvg), *available_plugins(clients, Client)} - {"base"}
    return sorted(methods | ({*names(CLIENT_HALF), *names(SERVER_HALF)} - own))


def complete(config: Config) -> Config:
    """Fill in what the method has defaults for and the configuration does not set (``Client.DEFAULTS``).

    Raises
    ------
    UserError
        If the method, or what else clients train with, does not exist or has other parameters.
    """
    make_optimizer([torch.zeros(1, requires_grad=True)], config.optimizer)
    for kind, section in ((LOSS, config.loss), (AUGMENTATION, config.augmentation)):
        chosen_function(kind, section)
    method = load_method(config.method.name, config.method.parameters)
    given = config.flat()
    missing = {key: value for key, value in method.defaults.items() if key not in given}
    return Config.from_flat({**given, **missing}) if missing else config


def load_method(name: str, parameters: Mapping[str, Value]) -> Method:
    """Find both halves of a method and validate its parameters.

    Raises
    ------
    UserError
        Unknown method (with the nearest name), unknown parameter, or a value out of range.
    """
    return _load_method(name, tuple(sorted(parameters.items())), tuple(folders()))


@functools.lru_cache(maxsize=8)
def _load_method(name: str, items: tuple[tuple[str, Value], ...], _searched: tuple[Path, ...] = ()) -> Method:
    if name.startswith(FLOWER_PREFIX):
        return _flower_method(name, dict(items))
    strategy_class, client_class = _find_halves(name)
    if name == "base" or not (strategy_class or client_class):
        raise unknown(CLIENT_HALF, name, [*available_methods(), "flwr:<Strategy>"])
    strategy_class, client_class = strategy_class or FedAvg, client_class or Client
    of_strategy, of_client = class_parameters(strategy_class), class_parameters(client_class)
    declared = {**of_strategy, **of_client}
    values = parse_parameters(
        "method", name, declared, drop_inherited_defaults("method", dict(items), declared)
    )
    return Method(
        name,
        strategy_class,
        client_class,
        {key: values[key] for key in of_strategy},
        {key: values[key] for key in of_client},
    )


def _find_halves(name: str) -> tuple[type[Strategy] | None, type[Client] | None]:
    """Return the server's and the client's half of a method, as far as it has them."""
    server, client = find(SERVER_HALF, name), find(CLIENT_HALF, name)
    if ":" in name and server:
        return _halves_of_object(name, server)
    strategy_class, client_class = _half(SERVER_HALF, server, FedAvg), _half(CLIENT_HALF, client, Client)
    if strategy_class and client_class and server and client and server.origin != client.origin:
        places = " and in ".join(found.origin or "the project" for found in (server, client))
        raise UserError(f"method.name: there is a method '{name}' in {places}: rename one of them")
    return strategy_class, client_class


def _halves_of_object(name: str, found: Found) -> tuple[type[Strategy] | None, type[Client] | None]:
    """Return the half that ``package.module:Name`` names, and the other one if its module defines it."""
    strategy_class, client_class = class_of(found, FedAvg), class_of(found, Client)
    if not (strategy_class or client_class):
        raise UserError(f"method.name: '{name}' is no subclass of FedAvg nor of Client")
    if found.is_module:
        return strategy_class, client_class
    module = sys.modules[found.thing.__module__]
    return strategy_class or find_class(module, FedAvg), client_class or find_class(module, Client)


def _half(kind: Kind, found: Found | None, base: type[T]) -> type[T] | None:
    """Return the class of a half; a plug-in must define one, a file of the project may be a helper."""
    cls = class_of(found, base) if found else None
    if found and found.origin and cls is None:
        raise UserError(f"{kind.key}: {where(found.thing)} defines no subclass of {base.__name__}")
    return cls


def _flower_method(name: str, given: dict[str, Value]) -> Method:
    class_name = name.removeprefix(FLOWER_PREFIX)
    usable = [
        key
        for key, cls in vars(flower_strategies).items()
        if inspect.isclass(cls)
        and issubclass(cls, Strategy)
        and cls is not Strategy
        and _takes_only_values(cls)
    ]
    if class_name not in usable:
        known = ", ".join(FLOWER_PREFIX + key for key in usable)
        raise UserError(
            f"method.name: Flower has no strategy '{class_name}' that can be used by name"
            f"{nearest(class_name, usable)} (available: {known})"
        )
    strategy_class = getattr(flower_strategies, class_name)
    hints = get_type_hints(strategy_class.__init__)
    declared = {
        key: (hints.get(key, Any), ... if parameter.default is parameter.empty else parameter.default)
        for key, parameter in inspect.signature(strategy_class).parameters.items()
        if key not in _EVERYONE
    }
    parameters = parse_parameters("method", name, declared, given)
    try:
        strategy_class(**_EVERYONE, **parameters)
    except (TypeError, ValueError) as error:
        raise UserError(f"'{name}' does not accept these parameters: {error}") from None
    return Method(name, strategy_class, Client, {**_EVERYONE, **parameters}, {})


def _takes_only_values(strategy_class: type[Strategy]) -> bool:
    """Leave out wrappers of strategies, tree boosters, and FedProx: Flower has no client half for it."""
    name, signature = strategy_class.__name__, inspect.signature(strategy_class).parameters
    return (
        "strategy" not in signature
        and set(_EVERYONE) <= set(signature)
        and "Xgb" not in name
        and name != "FedProx"
    )
