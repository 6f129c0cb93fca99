"""Every option of every command says what it is."""

import ast
from collections.abc import Iterator

import pytest

from common.defaults import PROJECT_ROOT

FILES = sorted(
    path
    for folder in ("analysis", "benchmarks", "runtimes", "studies")
    for path in (PROJECT_ROOT / folder).rglob("*.py")
    if "peers" not in path.parts  # started by a benchmark, not by people
)


def options_without_help(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
            continue
        name = node.args[0].value
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        is_option = isinstance(name, str) and name.startswith("--") and called in ("add", "add_argument")
        if is_option and not any(keyword.arg in ("help", None) for keyword in node.keywords):
            yield str(name)


@pytest.mark.parametrize("source", ["add('--x', type=int)", "parser.add_argument('--x')"])
def test_an_option_without_help_is_found(source: str) -> None:
    assert list(options_without_help(source)) == ["--x"]


def test_every_option_is_explained() -> None:
    files = [PROJECT_ROOT / "run_simulation.py", *FILES]
    without = {
        str(path): names
        for path in files
        if (names := list(options_without_help(path.read_text(encoding="utf-8"))))
    }
    assert without == {}
