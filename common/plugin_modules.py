"""Import modules of plug-in folders under private names, so that they shadow nothing.

``/home/me/mine/clients/my_method.py`` is ``_flowerbed_plugins.<hash>.clients.my_method``: a folder called
``datasets`` does not stand in for ours, and two folders may have files of one name. Modules of a folder
import each other relatively (``from ..models.my_net import x``), or absolutely, from their own folder or the
plug-in folder (``import my_helper``, ``from models.my_net import x``), where nothing else has that name.
"""

import builtins
import functools
import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from common.errors import UserError

T = TypeVar("T")

_PROJECT = Path(__file__).resolve().parent.parent

_ROOT = "_flowerbed_plugins"
_STAMP = "__flowerbed_stamp__"

# Names of imported user modules: from plug-in folders, named in the configuration, or installed.
_outside: dict[str, None] = {}


def import_from(folder: Path, name: str) -> ModuleType:
    """Import a module, dotted as ``clients.my_method``, from a plug-in folder; see ``import_module``."""
    return import_module(f"{_package_of(folder)}.{name}")


def import_module(name: str) -> ModuleType:
    """Import a module that a user named or wrote.

    Raises
    ------
    UserError
        If importing it fails, with the file, the line and the error.
    """
    note_outside(name)
    return imported(name, lambda: importlib.import_module(name))


def note_outside(name: str) -> None:
    """Add a module to those that `values_of_modules` searches."""
    _outside[name] = None


def values_of_modules() -> list[Any]:
    """Return the values in modules from outside the project: globals, and attributes of their classes."""
    found: list[Any] = []
    for name in _outside:
        for value in list(vars(sys.modules[name]).values()) if name in sys.modules else ():
            found.append(value)
            if isinstance(value, type) and value.__module__ == name:
                found += vars(value).values()
    return found


def imported(name: str, load: Callable[[], T]) -> T:
    """Return ``load()``; errors without a location are reported with `name`. See ``import_module``."""
    try:
        return load()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        shown = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(f"importing {_place(error) or name} failed: {shown}") from error


def forget_changed() -> None:
    """Unload modules of plug-in folders if a file has changed, as between two cells of a notebook.

    Function caches are cleared, too, since they may hold classes of the old modules.
    """
    modules = {name: module for name, module in sys.modules.items() if name.startswith(f"{_ROOT}.")}
    stamps = {name: getattr(module, _STAMP, None) for name, module in modules.items()}
    if all(stamp is None or _stamp(stamp[0]) == stamp for stamp in stamps.values()):
        return
    for name, stamp in stamps.items():
        if stamp is not None:
            del sys.modules[name]
    for module in list(sys.modules.values()):
        for value in list(vars(module).values()) if _is_ours(module) else ():
            if isinstance(value, functools._lru_cache_wrapper):
                value.cache_clear()


def _stamp(path: str) -> tuple[str, int, int]:
    """Return path, modification time and size of a file; a missing file has neither of the latter."""
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size


def _is_ours(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and str(file).startswith(f"{_PROJECT}{os.sep}")


def failure_of_plugin(error: BaseException) -> str:
    """Return file, line and error if code of a plug-in folder was running, otherwise empty text."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__", "")).startswith(f"{_ROOT}.")
    ]
    if not frames:
        return ""
    file, line = frames[-1]
    return f"{file}, line {line}, failed: {type(error).__name__}: {' '.join(str(error).split())}"


def has_module(folder: Path, name: str) -> bool:
    """Return whether a folder has the module with the dotted name `name`."""
    path = folder.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _package_of(folder: Path) -> str:
    """Create the private package for the modules of a folder, and return its name."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    for name, path in ((_ROOT, []), (f"{_ROOT}.{digest}", [str(folder)])):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = path
            sys.modules[name] = package
    return f"{_ROOT}.{digest}"


class _Finder:
    """Finds modules of plug-in folders, and gives them a loader that knows their neighbours."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{_ROOT}."):
            return None
        importlib.invalidate_caches()  # the file may have been written since the process started
        spec = PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def _cache_bytecode(self, *arguments: object) -> None:
        """Write no bytecode: it would look up to date after an edit within the same second."""

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, _STAMP, _stamp(self.path))
        # Functions of a module import through the ``__import__`` of its builtins.
        _outside[module.__name__] = None
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        super().exec_module(module)


def _import(
    name: str,
    variables: Mapping[str, Any] | None = None,
    local_variables: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Import as usual; a module that is not found may be a neighbour in the plug-in folder."""
    try:
        return builtins.__import__(name, variables, local_variables, names or (), level)
    except ModuleNotFoundError as error:
        private = _neighbour(name, str((variables or {}).get("__name__", "")))
        if level or not private or not (error.name and f"{name}.".startswith(f"{error.name}.")):
            raise
    module = importlib.import_module(private)
    if names or "." not in name:
        return module
    return sys.modules[private.removesuffix(name[name.index(".") :])]


def _neighbour(name: str, importer: str) -> str:
    """Return the private name of a module next to the importing one, or in a folder above it."""
    package = importer
    while package.count(".") > 1:
        package = package.rpartition(".")[0]
        search = getattr(sys.modules.get(package), "__path__", ())
        if any(has_module(Path(folder), name) for folder in search):
            return f"{package}.{name}"
    return ""


def _place(error: BaseException) -> str:
    """Return the last file and line of user code in which importing failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno},"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "<frozen" not in frame.filename]
    outside = [frame for frame in frames if frame.filename != __file__ and frame.name == "<module>"]
    return f"{outside[-1].filename}, line {outside[-1].lineno}," if outside else ""
