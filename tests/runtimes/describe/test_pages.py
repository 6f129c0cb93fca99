"""docs/methods.md and docs/keys.md are what the code says of itself, docs/results.md what its tables say."""

import re
import tomllib
from pathlib import Path

import pytest

from clients.registry import available_methods
from runtimes.describe.keys import fields
from runtimes.describe.pages import PAGES, keys_page, methods_page


@pytest.mark.parametrize("file", PAGES, ids=lambda path: path.name)
def test_a_page_is_up_to_date(file: Path) -> None:
    assert file.read_text(encoding="utf-8") == PAGES[file](), "run: python -m runtimes.describe.pages"


def test_every_method_and_every_key_is_there_once() -> None:
    text = methods_page()
    for name in available_methods():
        assert text.count(f"\n## {name}\n") == 1
    rows = [line.split("|")[1].strip(" `") for line in keys_page().splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(fields())


def test_the_default_and_the_limits_of_a_key() -> None:
    row = "| `clients.fraction` | a number, above 0, at most 1 | `0.5` | fraction C that trains in a round: "
    assert f"\n{row}" in keys_page()


def test_defaults_are_written_as_in_a_file() -> None:
    assert '| `method.momentum` | one of "average", "keep", "reset" | `"average"` |' in methods_page()
    defaults = re.findall(r"^\| `method\..*\| `(.*)` \|$", methods_page(), re.MULTILINE)
    assert len(defaults) > 100
    for default in defaults:
        assert default in ("none", "required") or tomllib.loads(f"value = {default}")


def test_every_method_of_a_paper_links_it() -> None:
    sections = methods_page().split("\n## ")[1:-1]
    without = {section.split("\n", 1)[0] for section in sections if "<https://" not in section}
    assert without == {"local-only", "scalefl"}  # a baseline, and a paper that is not on arXiv


def test_equations_stay_as_they_are() -> None:
    # A backslash before "<" is shown by the documentation site, and hidden by others.
    page = methods_page()
    assert "\\<" not in page
    assert r"x &lt;- sum\_k lambda\_k y\_k" in page
