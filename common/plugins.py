"""Things found by file name: ``name`` in the configuration is ``<package>/<name>.py`` with ``-`` as ``_``."""

import importlib
import inspect
import pkgutil
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


def available_plugins(package: ModuleType, base: type | None = None) -> list[str]:
    """List the names of a package's modules, in configuration spelling; a leading underscore hides one.

    With `base`, only the modules that define a subclass of it (or `base` itself).
    """
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return [
        name.replace("_", "-")
        for name in names
        if not name.startswith("_")
        and (base is None or find_class(importlib.import_module(f"{package.__name__}.{name}"), base))
    ]


def load_plugin(package: ModuleType, name: str) -> ModuleType | None:
    """Import ``<package>/<name>.py``; None if there is no such file, or it holds what others share."""
    module_name = name.replace("-", "_")
    if module_name.startswith("_") or module_name not in {
        module.name for module in pkgutil.iter_modules(package.__path__)
    }:
        return None
    return importlib.import_module(f"{package.__name__}.{module_name}")


def find_class(module: ModuleType, base: type[T]) -> type[T] | None:
    """Return the class that `module` itself defines as a subclass of `base`, if there is one.

    Of several it is the one that has the module's name, ``FedProx`` in ``fedprox``.
    """
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, base) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    name = module.__name__.rpartition(".")[2].replace("_", "")
    found.sort(key=lambda cls: cls.__name__.lower() != name)
    return found[0] if found else None
