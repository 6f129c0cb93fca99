"""Things chosen by name: description, source, equation and parameters, read from their code."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from clients.base import Client
from clients.registry import available_methods, load_method
from common.parameters import Declared, class_parameters, function_parameters
from common.plugin_kinds import CLIENT_HALF, KINDS, MODEL, SERVER_HALF, Kind
from common.plugins import FLOWER_PREFIX, find, names
from models import LIBRARIES, available_models
from strategies._decentralised import Decentralised
from strategies._flower_names import available_flower_strategies, flower_class, flower_parameters
from strategies._virtual_clock import OnVirtualClock
from strategies.fedavg import FedAvg
from strategies.heteroavg import HeteroAvg

Parameters = Mapping[str, tuple[Any, Any]]
METHOD = "method"


@dataclass(frozen=True)
class Thing:
    """One thing chosen by name.

    Attributes
    ----------
    kind, name, key : str
        Its kind, its name, and the key that chooses it, empty where all are used.
    summary : str
        The first line of its file.
    details : list of str
        Further paragraphs: equation, paper.
    parameters : mapping
        name → (annotation, default).
    notes : list of str
        What it can be combined with.
    """

    kind: str
    name: str
    key: str
    summary: str
    details: list[str] = field(default_factory=list)
    parameters: Parameters = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def papers(self) -> list[str]:
        """The URLs of its papers."""
        text = " ".join([self.summary, *self.details])
        numbers = dict.fromkeys(re.findall(r"arXiv:(\d{4}\.\d{5})", text))
        return [f"https://arxiv.org/abs/{number}" for number in numbers]

    @property
    def paragraphs(self) -> list[str]:
        """The summary and the details, without bare references to papers."""
        numbers = r"(arXiv:[\d.]+\d[,.] ?)+"
        texts = dict.fromkeys([self.summary, *self.details])
        return [text for text in texts if not re.fullmatch(numbers, text)]

    @property
    def section(self) -> str:
        """The section of the configuration with its parameters."""
        return self.key.rpartition(".")[0]


def kinds() -> dict[str, list[str]]:
    """Return the names of every kind, by its word on the command line."""
    found = {METHOD: [*available_methods(), *available_flower_strategies()]}
    for kind in KINDS:
        if kind not in (CLIENT_HALF, SERVER_HALF):
            found[word(kind)] = _listed(kind)
    return found


def chosen_by(topic: str) -> str:
    """Return the key that chooses one of a kind, given by its word; empty if all of them are used."""
    keys = [kind.key for kind in KINDS if word(kind) == topic and kind.is_chosen]
    return keys[0] if keys else ""


def word(kind: Kind) -> str:
    """Return the word for a kind on the command line: the section of its key."""
    return kind.key.partition(".")[0]


def _listed(kind: Kind) -> list[str]:
    if kind is MODEL:
        return [*available_models(), *(f"{library}:<name>" for library in LIBRARIES)]
    return names(kind)


def things(name: str, only: str = "") -> list[Thing]:
    """Return the things with a name, in every kind that has it, or in one."""
    found = []
    if only in ("", METHOD) and (name in available_methods() or name.startswith(FLOWER_PREFIX)):
        found.append(_method(name))
    for kind in KINDS:
        if kind in (CLIENT_HALF, SERVER_HALF) or only not in ("", word(kind)):
            continue
        if name in _listed(kind) and (thing := _thing(kind, name)):
            found.append(thing)
    return found


def _thing(kind: Kind, name: str) -> Thing | None:
    found = find(kind, name)
    if found is None:
        return None
    owner = _owner(kind, found.thing)
    declared = class_parameters(owner) if inspect.isclass(owner) else function_parameters(owner)
    if not kind.is_chosen:
        declared = Declared()
    summary, details = _texts(inspect.getmodule(owner) if not found.is_module else found.thing, owner)
    key = kind.key if kind.is_chosen else ""
    return Thing(kind.title, name, key, summary, details, declared)


def _owner(kind: Kind, thing: Any) -> Callable[..., Any] | type:
    """Return the function or class that declares the parameters."""
    if not isinstance(thing, ModuleType):
        return thing  # type: ignore[no-any-return]
    if kind.function:
        return getattr(thing, kind.function)  # type: ignore[no-any-return]
    name = thing.__name__.rpartition(".")[2].replace("_", "")
    own = [cls for _, cls in inspect.getmembers(thing, inspect.isclass) if cls.__module__ == thing.__name__]
    return min(own, key=lambda cls: (cls.__name__.lower() != name, cls.__name__.startswith("_")))


def _texts(module: ModuleType | None, *owners: Any) -> tuple[str, list[str]]:
    """Return the first line of a module, and the further paragraphs of it and of the given owners."""
    paragraphs = _paragraphs(inspect.getdoc(module) if module else "")
    for owner in owners:
        for paragraph in _paragraphs(owner.__doc__)[:2]:
            if paragraph not in paragraphs:
                paragraphs.append(paragraph)
    return (paragraphs[0] if paragraphs else ""), paragraphs[1:]


def _paragraphs(text: str | None) -> list[str]:
    """Split a docstring into paragraphs, each on one line, up to its numpydoc sections."""
    text = inspect.cleandoc(text or "")
    text = re.split(r"\n\n?[A-Z]\w+\n-{3,}\n", f"\n{text}")[0]
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def _method(name: str) -> Thing:
    if name.startswith(FLOWER_PREFIX):
        return _of_flower(name)
    method = load_method(name, {})
    strategy, client = method.strategy_class, method.client_class
    summary, details = "", list[str]()
    for half in (strategy, client):
        if name == "fedavg" or half not in (FedAvg, Client):
            first, rest = _texts(inspect.getmodule(half), half)
            details += [first, *rest] if summary else rest
            summary = summary or first
    declared = {**class_parameters(strategy), **class_parameters(client)}
    notes = _notes(strategy, client)
    return Thing(METHOD, name, "method.name", summary, details, declared, notes)


def _of_flower(name: str) -> Thing:
    """Describe a strategy of Flower by its own docstring."""
    declared = flower_parameters(name)
    summary, *details = _paragraphs(flower_class(name).__doc__)
    return Thing(METHOD, name, "method.name", summary, details, declared, ["not covered by privacy.*"])


def _notes(strategy: type[FedAvg], client: type[Client]) -> list[str]:
    """Return what a method is compatible with, according to its halves."""
    of_sizes, is_decentralised = issubclass(strategy, HeteroAvg), issubclass(strategy, Decentralised)
    facts = {
        "needs model.sizes": of_sizes,
        "works on the virtual clock (clock.*)": issubclass(strategy, OnVirtualClock),
        "clients exchange models along topology.*": is_decentralised,
        "clients end with models or predictions of their own": client.is_personalised(),
        "needs one learning rate in a round": client.NEEDS_ONE_RATE,
        "not covered by privacy.*": of_sizes or is_decentralised or strategy.SECTIONS != FedAvg.SECTIONS,
    }
    return [text for text, holds in facts.items() if holds]
