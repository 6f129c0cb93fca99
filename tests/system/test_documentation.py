import re

from common.defaults import PROJECT_ROOT, default_values
from runtimes.describe.keys import DOCUMENTS


def test_every_key_is_documented() -> None:
    text = "\n".join(page.read_text() for page in DOCUMENTS)
    missing = [key for key in default_values() if f"`{key}`" not in text]
    assert missing == []


def test_every_page_has_one_title() -> None:
    """The site's table of contents has what is below the first title, and leaves out the rest."""
    for page in (PROJECT_ROOT / "docs").rglob("*.md"):
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1, page
