"""MkDocs hooks: add the README and the experiments' page to the site, and remove links to code.

``mkdocs build`` reads them (``mkdocs.yml``).
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
# Pages of the site with sources outside docs/.
ELSEWHERE = {"index.md": "README.md", "experiments.md": "experiments/README.md"}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages with sources outside ``docs/``."""
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_in_site(text, source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fix the links of a page that lead out of ``docs/``."""
    name = page.file.src_uri
    return markdown if name in ELSEWHERE else _in_site(markdown, f"docs/{name}", name)


def _in_site(text: str, source: str, page: str = "") -> str:
    """Return a text of the project with its links adapted to the site."""
    pages = {path: name for name, path in ELSEWHERE.items()}

    def mended(match: re.Match[str]) -> str:
        mark, label, target, anchor = match[1], match[2], match[3], match[4] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        name = pages.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
        if not name:
            return label  # code, which is not on the site
        return f"{mark}[{label}]({posixpath.relpath(name, posixpath.dirname(page) or '.')}{anchor})"

    parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else _LINK.sub(mended, part) for part in parts)
