"""A method's half fits on a screen: lines with docstring and imports (docs/architecture.md)."""

import pytest

from common.defaults import PROJECT_ROOT


@pytest.mark.parametrize(
    ("file", "most"),
    [
        ("clients/fedprox.py", 32),
        ("clients/moon.py", 60),
        ("clients/scaffold.py", 48),
        ("strategies/scaffold.py", 40),
    ],
)
def test_line_budgets(file: str, most: int) -> None:
    assert len((PROJECT_ROOT / file).read_text().splitlines()) <= most
