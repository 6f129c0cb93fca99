"""The overview of docs/results.md, made from docs/effects.csv and docs/results.csv.

``effects.csv`` has a row per published effect: the section of the page, who published it, a verdict and why.
``results.csv`` has a row per number: published and ours in the unit of the metric, the deviation over seeds,
and the budget as a share of the published one.
"""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

from analysis.tables import as_markdown
from common.defaults import PROJECT_ROOT

DOCS = PROJECT_ROOT / "docs"
PAGE, EFFECTS, RESULTS = DOCS / "results.md", DOCS / "effects.csv", DOCS / "results.csv"

# What did not replicate stands first.
VERDICTS = {
    "contrary": "the numbers say otherwise",
    "not shown": "the numbers leave it open",
    "order": "the published order, not its level",
    "replicated": "the published numbers, within what the seeds leave open",
}
SOURCES = {
    "paper": "a peer-reviewed paper",
    "course report": "a public student report, a single seed",
    "training log": "the public log of the authors' code, a single run",
}
_MADE = re.compile(r"(<!-- made from .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def results_page() -> str:
    """Return the page with its overview regenerated."""
    budgets = "Budgets are shares of the published one."
    parts = [effects_table(), _legend(SOURCES), _legend(VERDICTS), budgets, numbers_table()]
    overview = "\n\n".join(parts) + "\n"
    return _MADE.sub(lambda found: f"{found[1]}\n{overview}\n{found[2]}", PAGE.read_text(encoding="utf-8"))


def _legend(words: Mapping[str, str]) -> str:
    return "; ".join(f"*{word}*: {meaning}" for word, meaning in words.items()) + "."


def effects_table() -> str:
    """Return a Markdown row per effect, those that did not replicate first."""
    rows = [
        [f"[{row['effect']}](#{_anchor(row['section'])})", row["source"], row["verdict"], row["why"]]
        for row in _effects()
    ]
    return as_markdown(["published effect", "source", "here", "why"], rows)


def numbers_table() -> str:
    """Return a Markdown row per number with a published counterpart, in the order of the effects."""
    source = {row["effect"]: row["source"] for row in _effects()}
    order = list(source)
    numbers = sorted(_rows(RESULTS), key=lambda row: order.index(row["effect"]))
    shown = ("effect", "configuration", "metric", "budget", "seeds")
    rows = [
        [
            *(row[name] for name in shown),
            source[row["effect"]],
            row["published"],
            row["ours"] + (f" ± {row['deviation']}" if row["deviation"] else ""),
            f"{float(row['ours']) - float(row['published']):+.2f}",
        ]
        for row in numbers
        if row["published"]
    ]
    return as_markdown([*shown, "source", "published", "ours", "difference"], rows)


def headings() -> list[str]:
    """Return the headings of the page."""
    return re.findall(r"^##+ (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def _effects() -> list[dict[str, str]]:
    order = list(VERDICTS)
    return sorted(_rows(EFFECTS), key=lambda row: order.index(row["verdict"]))


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def _anchor(section: str) -> str:
    """Return the anchor of the heading that begins with a section's name."""
    heading = next(text for text in headings() if text.partition(" (")[0] == section)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
