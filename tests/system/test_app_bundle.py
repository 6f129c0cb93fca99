"""What Flower packs into an app: its patterns leave some files out."""

from pathlib import PurePath

from flwr.common.constant import FAB_EXCLUDE_PATTERNS

from common.defaults import PROJECT_ROOT

PACKAGES = (
    "analysis",
    "clients",
    "common",
    "datasets",
    "models",
    "runtimes",
    "server",
    "strategies",
    "studies",
)


def test_no_module_of_ours_is_left_out() -> None:
    modules = [
        path.relative_to(PROJECT_ROOT)
        for package in PACKAGES
        for path in (PROJECT_ROOT / package).rglob("*.py")
    ]
    assert len(modules) > 100
    for path in modules:
        assert not any(PurePath("app", path).match(pattern) for pattern in FAB_EXCLUDE_PATTERNS), path
