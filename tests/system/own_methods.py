"""Runs of a method whose hooks are somebody's own."""

import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from clients.app import app
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import small_config

Hook = Callable[..., Any]


def run(path: Path, method: str, **keys: Any) -> None:
    values = {
        "clients__count": 2,
        "clients__fraction": 1.0,
        "local__steps": 2,
        "rounds": 2,
        "model__name": "linear",
        **keys,
    }
    config = small_config(path, method__name=method, **values)
    run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), PlainLines())


def named(base: type, hooks: dict[str, Any]) -> str:
    """Return the ``method.name`` of a new class with these attributes, in a module of its own."""
    module = types.ModuleType(f"wrong_hooks_{sum(name.startswith('wrong_hooks_') for name in sys.modules)}")
    cls = type("Wrong", (base,), {**hooks, "__module__": module.__name__})
    vars(module).update(Wrong=cls, __file__=__file__, __spec__=ModuleSpec(module.__name__, None))
    sys.modules[module.__name__] = module
    return f"{module.__name__}:Wrong"


def returns(value: Any) -> Hook:
    return lambda self, received, config=None: value


def parameter(name: str, value: Any) -> dict[str, Any]:
    return {name: value, "__annotations__": {name: type(value)}}
