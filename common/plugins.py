"""Where the things that are chosen by name are found.

A name is that of a file, with ``-`` as ``_``: in the project's own folder of its kind; in the folder of that
kind in one of the user's plug-in folders (``plugins``, ``--plugins``, ``FLOWERBED_PLUGINS``); among the entry
points ``flowerbed.<folder>`` of installed packages; or ``package.module:name`` says where it is.
"""

import functools
import importlib
import importlib.util
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints, distributions
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from common.errors import UnknownNameError, UserError, nearest, unknown_name
from common.files import expanded
from common.overrides import check_arguments, check_overrides
from common.package_modules import find_class, module_names, where
from common.plugin_kinds import GROUPS, KINDS, PLOT, Kind
from common.plugin_modules import has_module, import_from, import_module, imported, note_outside

T = TypeVar("T")

ENVIRONMENT_VARIABLE = "FLOWERBED_PLUGINS"
FLOWER_PREFIX = "flwr:"


@dataclass(frozen=True)
class Found:
    """The result of looking up a name.

    Attributes
    ----------
    thing : Any
        A module, or the object that ``package.module:name`` or an entry point names.
    origin : str
        ``""`` for the project, else the plug-in folder, package or module of origin.
    """

    thing: Any
    origin: str

    @property
    def is_module(self) -> bool:
        """Whether it is a module, in which a function or class is yet to be looked up."""
        return isinstance(self.thing, ModuleType)


# Where plug-ins are looked for

_folders: list[Path] = []


def use_folders(text: object) -> None:
    """Set the plug-in folders of this process: the value of the key ``plugins``, separated by commas."""
    _folders[:] = dict.fromkeys(split_folders(text)) if isinstance(text, str) else []


def folders() -> list[Path]:
    """Return the plug-in folders of this process, including those of the environment, each once."""
    given = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not given:  # asked for at every job
        return list(_folders)
    return list(dict.fromkeys([*_folders, *split_folders(given.replace(os.pathsep, ","))]))


def split_folders(text: str) -> list[Path]:
    """Return the absolute paths in a comma-separated list."""
    return [expanded(part, "plugins").resolve() for part in map(str.strip, text.split(",")) if part]


def all_folders(given: object) -> str:
    """Return ``plugins`` as complete absolute paths, valid in every process of a run.

    Raises
    ------
    UserError
        If a folder does not exist, has no plug-ins, or has a plot whose name is taken.
    """
    if not isinstance(given, str):
        raise UserError(f"plugins must be folders, separated by commas, not {given!r}")
    use_folders(given)
    for folder in folders():
        _check_folder(folder)
    for _, name in _in_folders(PLOT):
        _check_single(PLOT, name, _places(PLOT, name))
    return ",".join(map(str, folders()))


def _check_folder(folder: Path) -> None:
    known = [kind.folder for kind in KINDS]
    if not folder.is_dir():
        raise UserError(f"plugins: there is no folder {folder}; --plugins names others")
    inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not set(inner) & set(known):
        hints = (nearest(name, known) for name in inner if not name.startswith((".", "_")))
        raise UserError(
            f"plugins: {folder} has none of the folders {', '.join(known)}{next(filter(None, hints), '')}"
        )


def is_from_outside(kind: Kind, name: str) -> bool:
    """Return whether a name may stand for code that is not the project's."""
    if ":" in name:
        return not name.startswith(FLOWER_PREFIX)  # Flower's strategies use the project's client half
    others = (*(own for _, own in _in_folders(kind)), *(point.name for point in _points(kind)))
    return name.replace("-", "_") in (other.replace("-", "_") for other in others)


# Finding by name


def names(kind: Kind) -> list[str]:
    """List the names of a kind, in configuration spelling, importing only the kind's package."""
    listed = [*_own(kind), *(name for _, name in _in_folders(kind)), *(point.name for point in _points(kind))]
    return sorted({name.replace("_", "-") for name in listed})


def project_names(kind: Kind) -> list[str]:
    """List the project's own names of a kind, in configuration spelling."""
    return [name.replace("_", "-") for name in _own(kind)]


def find(kind: Kind, name: str) -> Found | None:
    """Import what a name refers to; None if there is nothing of the name.

    Raises
    ------
    UserError
        If there are several, or importing it fails.
    """
    if ":" in name:
        return _named_object(kind, name)
    found = _places(kind, name)
    _check_single(kind, name, found)
    return Found(imported(f"'{name}' of {found[0][0]}", found[0][1]), found[0][0]) if found else None


def _places(kind: Kind, name: str) -> list[tuple[str, Callable[[], Any]]]:
    """Return the origins that define a name, as in `Found`, each with the function that imports it."""
    module = name.replace("-", "_")
    found: list[tuple[str, Callable[[], Any]]] = []
    if module in _own(kind):
        found.append(("", lambda: _own_thing(kind, module)))
    for folder, own in _in_folders(kind):
        if own.replace("-", "_") == module:  # a file may be spelled with dashes, too
            found.append((str(folder), functools.partial(import_from, folder, f"{kind.folder}.{own}")))
    points = (point for point in _points(kind) if point.name.replace("-", "_") == module)
    return found + [
        (f"package {point.dist.name if point.dist else point.module}", functools.partial(_load, point))
        for point in points
    ]


def _load(point: EntryPoint) -> Any:
    thing = point.load()
    note_outside(point.module)
    return thing


def _check_single(kind: Kind, name: str, places: list[tuple[str, Callable[[], Any]]]) -> None:
    if len(places) > 1:
        where_all = " and in ".join(origin or f"the project's {kind.folder}/" for origin, _ in places)
        spelling = name.replace("_", "-")
        raise UserError(
            f"{kind.key}: there is a {kind.title} '{spelling}' in {where_all}: rename one of them"
        )


def find_function(kind: Kind, name: str) -> Callable[..., Any]:
    """Return the function that a name of a kind refers to.

    Raises
    ------
    UserError
        If there is none, with the nearest name and all there are.
    """
    found = find(kind, name)
    if found is None:
        raise unknown(kind, name)
    function = getattr(found.thing, kind.function, None) if found.is_module else found.thing
    if function is None and not found.origin:  # a helper of the project's
        raise unknown(kind, name)
    if not callable(function):
        raise UserError(
            f"{kind.key}: {where(found.thing)} defines no function '{kind.function}': it must define"
            f" {kind.signature}, see docs/extending.md"
        )
    if found.origin and kind.takes:
        check_arguments(function, kind.takes, f"{kind.key}: {where(found.thing)}")
    result: Callable[..., Any] = function
    return result


def find_subclass(kind: Kind, name: str, base: type[T]) -> type[T]:
    """Return the subclass of `base` that a name of a kind refers to.

    Raises
    ------
    UserError
        If there is none, with the nearest name and all there are.
    """
    found = find(kind, name)
    if found is None:
        raise unknown(kind, name)
    cls = subclass_of(kind, found, base)
    if cls is None:
        raise unknown(kind, name)
    return cls


def subclass_of(kind: Kind, found: Found, base: type[T]) -> type[T] | None:
    """Return the class that was found; a file of the project that defines none is a helper.

    Raises
    ------
    UserError
        If a plug-in defines no subclass of `base`, or one that overrides its methods wrongly.
    """
    cls = class_of(found, base)
    if found.origin and cls is None:
        raise UserError(f"{kind.key}: {where(found.thing)} defines no subclass of {base.__name__}")
    if found.origin and cls:
        check_overrides(cls, base, kind.key)
    return cls


def class_of(found: Found, base: type[T]) -> type[T] | None:
    """Return the subclass of `base` that was found, or that the found module defines."""
    if found.is_module:
        return find_class(found.thing, base)
    is_class = inspect.isclass(found.thing) and issubclass(found.thing, base)
    return found.thing if is_class else None


def unknown(kind: Kind, name: str, known: Iterable[str] | None = None) -> UnknownNameError:
    """Return the error for an unknown name of a kind; `known` are the existing names."""
    error = unknown_name(kind.key, name, names(kind) if known is None else known)
    missing = ", ".join(str(folder) for folder in folders() if not folder.is_dir())
    return UnknownNameError(f"{error}; this machine has no {missing}") if missing else error


def _own(kind: Kind) -> list[str]:
    """List the project's own names of a kind: its files, and the members of families that share a file."""
    package = importlib.import_module(kind.package)
    folders = tuple((path, os.stat(path).st_mtime_ns) for path in package.__path__)
    return [*_listed(kind.package, folders)]


@functools.lru_cache(256)
def _listed(package: str, folders: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Return the names in a package; `folders` (paths and modification times) is the cache key."""
    members = _members(importlib.import_module(package))
    return tuple(sorted({*module_names([path for path, _ in folders]), *members}))


def _members(package: ModuleType) -> Mapping[str, str]:
    """Map the names in the tables ``BUILDS`` of the package's files to these files."""
    return getattr(package, "MEMBERS", {})


def _own_thing(kind: Kind, name: str) -> Any:
    package = importlib.import_module(kind.package)
    if file := _members(package).get(name):
        return importlib.import_module(f"{kind.package}.{file}").BUILDS[name]
    return importlib.import_module(f"{kind.package}.{name}")


def _in_folders(kind: Kind) -> Iterator[tuple[Path, str]]:
    for folder in folders():
        for module in module_names([str(folder / kind.folder)]):
            yield folder, module


@functools.cache
def _points(kind: Kind) -> tuple[EntryPoint, ...]:
    return tuple(point for point in _all_points() if point.group == kind.group)


@functools.cache
def _all_points() -> tuple[EntryPoint, ...]:
    """Return the entry points of the project's groups; `importlib.metadata.entry_points` parses all."""
    found: dict[str, EntryPoints] = {}
    for package in distributions():
        if f"[{GROUPS}" in (package.read_text("entry_points.txt") or ""):
            found.setdefault(package.metadata["Name"], package.entry_points)  # the first on the path counts
    return tuple(itertools.chain.from_iterable(found.values()))


def _named_object(kind: Kind, name: str) -> Found:
    """Look up ``package.module:name``; the module may also be in a plug-in folder."""
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in f"{module_name}.{attribute}".split(".")):
        raise UserError(f"{kind.key} must be a name or package.module:name, not '{name}'")
    holders = [folder for folder in folders() if has_module(folder, module_name)]
    if _is_importable(module_name):
        module, origin = import_module(module_name), module_name
    elif holders:
        module, origin = import_from(holders[0], module_name), str(holders[0])
    else:
        raise UserError(
            f"{kind.key} '{name}': there is no module '{module_name}' on this machine: install it, or put its"
            " folder on PYTHONPATH"
        )
    try:
        return Found(functools.reduce(getattr, attribute.split("."), module), origin)
    except AttributeError:
        raise UserError(
            f"{kind.key}: {where(module)} has no '{attribute}'{nearest(attribute, vars(module))}"
        ) from None


def _is_importable(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except ModuleNotFoundError:
        return False
