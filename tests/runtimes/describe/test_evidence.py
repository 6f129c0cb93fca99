"""docs/effects.csv, docs/results.csv and docs/results.md say the same."""

import itertools
import re

import pandas as pd

from runtimes.describe.evidence import (
    EFFECTS,
    PAGE,
    RESULTS,
    SOURCES,
    VERDICTS,
    effects_table,
    headings,
    numbers_table,
)

EFFECT, NUMBER = pd.read_csv(EFFECTS), pd.read_csv(RESULTS)


def test_every_effect_has_numbers_a_section_and_a_verdict() -> None:
    assert set(EFFECT["effect"]) == set(NUMBER["effect"])
    assert EFFECT["effect"].is_unique
    assert set(EFFECT["verdict"]) <= set(VERDICTS)
    assert set(EFFECT["source"]) <= set(SOURCES)
    assert set(EFFECT["section"]) <= {heading.partition(" (")[0] for heading in headings()}
    assert EFFECT["why"].notna().all()


def test_every_number_stands_in_the_section_of_its_effect() -> None:
    parts = re.split(r"^##+ ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    sections = {part.partition("\n")[0].partition(" (")[0]: part for part in parts}
    section_of = EFFECT.set_index("effect")["section"]
    for row in pd.read_csv(RESULTS, dtype=str, keep_default_na=False).to_dict("records"):
        words = {"", *re.findall(r"\d+(?:\.\d+)?", sections[section_of[row["effect"]]])}
        assert {row["published"], row["ours"], row["deviation"]} <= words, row


def test_what_did_not_replicate_stands_first() -> None:
    rows = effects_table().splitlines()[2:]
    order = [list(VERDICTS).index(row.split(" | ")[2].partition(":")[0]) for row in rows]
    assert order == sorted(order)
    assert len(set(order)) > 1


def test_the_difference_is_ours_less_the_published_number() -> None:
    assert "| course report | 45.96 | 46.25 | +0.29 |" in numbers_table()
    assert "| paper | 64.8 | 31.30 ± 3.15 | -33.50 |" in numbers_table()


def test_the_page_says_whether_an_effect_of_a_paper_is_replicated() -> None:
    replicated = EFFECT[EFFECT["verdict"] == "replicated"]
    says_none = "**So far only numbers of public student reports," in PAGE.read_text()
    assert says_none == (set(replicated["source"]) == {"course report"})


def test_where_an_order_is_claimed_it_is_that_of_the_numbers() -> None:
    """Of every pair that the source has two points apart, up to one in five may be the other way round."""
    numbers = NUMBER.merge(EFFECT, on="effect").dropna(subset=["published"])
    claimed = numbers[numbers["verdict"].isin(["order", "replicated"])]
    for _, group in claimed.groupby(["effect", "metric", "budget"]):
        pairs = list(itertools.combinations(group[["published", "ours"]].to_numpy(), 2))
        clear = [a - b for a, b in pairs if abs(a[0] - b[0]) >= 2]
        assert sum(published * ours < 0 for published, ours in clear) <= len(clear) / 5
