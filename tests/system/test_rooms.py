"""Who may import whom, as docs/architecture.md says."""

import ast

from common.config import PROJECT_ROOT

ROOMS: dict[str, set[str]] = {
    "common": set(),
    "models": {"common"},
    "datasets": {"common"},
    "strategies": {"common", "models"},
    "clients": {"common", "models", "datasets"},
    "server": {"common", "models", "datasets", "strategies"},
    "runtimes": {"common", "clients", "server"},
    "analysis": {"common"},
}
EXCEPTIONS = {
    ("clients/registry.py", "clients"),  # finds methods in
    ("clients/registry.py", "strategies"),
    ("server/messages/directory.py", "runtimes"),  # Flower's internals
    # Plots and tables at the end of a run.
    ("server/app.py", "analysis"),
    ("runtimes/federation.py", "analysis"),
    ("runtimes/launch.py", "analysis"),
    ("runtimes/sweep.py", "analysis"),
}


def imports(room: str) -> set[tuple[str, str]]:
    """Return (file, room that it imports) for all imports, those inside functions included."""
    found: set[tuple[str, str]] = set()
    for file in (PROJECT_ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            name = str(file.relative_to(PROJECT_ROOT))
            found |= {(name, other) for other in (n.partition(".")[0] for n in names) if other in ROOMS}
    return found


def test_rooms_import_only_what_they_may() -> None:
    forbidden = {
        (file, other)
        for room, allowed in ROOMS.items()
        for file, other in imports(room)
        if other not in {room, *allowed}
    }
    assert forbidden == EXCEPTIONS
