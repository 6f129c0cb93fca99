"""docs/methods.md is what the methods say of themselves."""

from clients.registry import available_methods
from runtimes.describe.pages import PAGE, methods_page


def test_the_page_is_up_to_date() -> None:
    text = methods_page()
    assert PAGE.read_text(encoding="utf-8") == text, "run: python -m runtimes.describe.pages"
    for name in available_methods():
        assert f"\n## {name}\n" in text


def test_every_method_of_a_paper_links_it() -> None:
    sections = methods_page().split("\n## ")[1:-1]
    without = {section.split("\n", 1)[0] for section in sections if "<https://" not in section}
    assert without == {"local-only", "scalefl"}  # a baseline, and a paper that is not on arXiv
