"""Who may import whom, as docs/architecture.md says; no two files import each other, not even in a circle."""

import ast
import functools
from pathlib import Path

from common.defaults import PROJECT_ROOT

LAYERS: dict[str, set[str]] = {
    "common": set(),
    "models": {"common"},
    "datasets": {"common"},
    "strategies": {"common", "models"},
    "clients": {"common", "models", "datasets"},
    "server": {"common", "models", "datasets", "strategies"},
    "runtimes": {"common", "clients", "server"},
    "analysis": {"common"},
    "studies": {"common", "analysis"},
}
# The file that pairs the halves of a method stands above both; everything above may ask it, and the one that
# holds a configuration against the method.
REGISTRY = "clients/registry.py"
ASKED = {REGISTRY, "clients/_configuration.py"}
EXCEPTIONS = {
    (REGISTRY, "strategies"),
    # It describes what every layer has.
    ("runtimes/describe/things.py", "models"),
    ("runtimes/describe/things.py", "strategies"),
    ("runtimes/describe/pages.py", "strategies"),
    # A trained model, on files or data that somebody names: no job of a client or of the server.
    ("runtimes/prediction/trained.py", "models"),
    ("runtimes/prediction/export.py", "models"),
    ("runtimes/prediction/predict.py", "models"),
    ("runtimes/prediction/predict.py", "datasets"),
    ("runtimes/prediction/confusion.py", "models"),
    ("runtimes/prediction/confusion.py", "datasets"),
    # Plots and tables at the end of a run.
    ("server/app.py", "analysis"),
    ("runtimes/federation.py", "analysis"),
    ("runtimes/launch.py", "analysis"),
    ("runtimes/sweep.py", "analysis"),
    ("runtimes/queue/worker.py", "analysis"),
    ("runtimes/splits.py", "analysis"),
    ("runtimes/splits.py", "datasets"),
    # Whether a machine can read them.
    ("runtimes/ray/cluster.py", "datasets"),
    ("runtimes/search/launch.py", "analysis"),
    # Tables of a page of the docs.
    ("runtimes/describe/evidence.py", "analysis"),
}


def module_file(name: str) -> str | None:
    """Return the file of a dotted name, if it is a module of ours."""
    path = Path(*name.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (PROJECT_ROOT / candidate).is_file():
            return candidate.as_posix()
    return None


@functools.cache
def imports() -> dict[str, set[str]]:
    """Return file → files that it imports, for all imports: inside functions and for types, too."""
    found: dict[str, set[str]] = {}
    for layer in LAYERS:
        for file in (PROJECT_ROOT / layer).rglob("*.py"):
            targets = found.setdefault(file.relative_to(PROJECT_ROOT).as_posix(), set())
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and node.module:
                    inner = [module_file(f"{node.module}.{alias.name}") for alias in node.names]
                    targets |= {name for name in inner if name}
                    # A name that is no module of the package comes from the package's own file.
                    if not all(inner) and (owner := module_file(node.module)):
                        targets.add(owner)
                elif isinstance(node, ast.Import):
                    targets |= {name for alias in node.names if (name := module_file(alias.name))}
    return found


def test_layers_import_only_what_they_may() -> None:
    forbidden = {
        (file, other)
        for file, targets in imports().items()
        for target in targets
        if (other := target.partition("/")[0]) not in {(layer := file.partition("/")[0]), *LAYERS[layer]}
        and not (target in ASKED and layer in {"server", "runtimes"})
    }
    assert forbidden == EXCEPTIONS


def without_ends(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Take out, again and again, the files that import none of the others: the circles remain."""
    while ends := {file for file, targets in graph.items() if not targets & graph.keys()}:
        graph = {file: targets for file, targets in graph.items() if file not in ends}
    return graph


def test_no_circle_of_files() -> None:
    rest = without_ends({file: targets - {file} for file, targets in imports().items()})
    importers = {file: {other for other in rest if file in rest[other]} for file in rest}
    circles = without_ends(importers)
    assert {file: sorted(rest[file] & circles.keys()) for file in circles} == {}
