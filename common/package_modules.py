"""The modules of a package, the class that a module defines, and where things are defined."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import Any, TypeVar

from common.errors import UserError

T = TypeVar("T")


def module_names(path: list[str]) -> list[str]:
    """List the modules in folders, except those with an underscore."""
    found = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name for name in found if not name.startswith("_"))


def available_plugins(package: ModuleType, base: type | None = None) -> list[str]:
    """List the names of a package's modules, in configuration spelling, except those with an underscore.

    With `base`, only the modules that define a subclass of it (or `base` itself).
    """
    return [
        name.replace("_", "-")
        for name in module_names(list(package.__path__))
        if base is None or find_class(importlib.import_module(f"{package.__name__}.{name}"), base)
    ]


def find_class(module: ModuleType, base: type[T]) -> type[T] | None:
    """Return the class that `module` itself defines as a subclass of `base`, if there is one.

    Of several, it is the one with the module's name, ``FedProx`` in ``fedprox``, or the one that derives from
    the others.

    Raises
    ------
    UserError
        If neither rule selects one.
    """
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    stem = module.__name__.rpartition(".")[2]
    for cls in found:
        if cls.__name__.lower() == stem.replace("_", ""):
            return cls
    last = [cls for cls in found if not any(cls in other.__mro__[1:] for other in found)]
    if len(last) > 1:
        classes = ", ".join(cls.__name__ for cls in last)
        raise UserError(
            f"{where(module)} defines several subclasses of {base.__name__} ({classes}): call the one that is"
            f" meant as the file, {stem.title().replace('_', '')}"
        )
    return last[0] if last else None


def is_in(thing: Any, package: str) -> bool:
    """Return whether a class or function is defined in a top-level package."""
    return str(thing.__module__).partition(".")[0] == package


def where(thing: Any) -> str:
    """Return the file of a module, or a description of anything else."""
    return str(getattr(thing, "__file__", None) or thing)
