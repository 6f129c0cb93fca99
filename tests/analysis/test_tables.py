"""Tables as files."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.tables import as_csv, as_latex, as_markdown, print_table, write_table
from common.errors import UserError

HEADER, ROWS = ["run", "final (%)"], [["a_b & c|d", "61.00 ± 1.41"], ["e", "-0.5"]]


def test_latex_is_a_booktabs_table():
    assert as_latex(HEADER, ROWS).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"run & final (\%) \\",
        r"\midrule",
        r"a\_b \& c\textbar{}d & 61.00 $\pm$ 1.41 \\",
        r"e & $-$0.5 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), max_size=3))
def test_every_text_stays_in_its_cell(rows):
    plain = [[cell.replace("\r", " ").replace("\x00", "") for cell in row] for row in rows]
    assert list(csv.reader(io.StringIO(as_csv(HEADER, plain), newline=""))) == [HEADER, *plain]
    lines = as_latex(HEADER, rows).split("\n")
    assert len(lines) == 6 + len(rows)
    assert all(line.replace(r"\&", "").count("&") == 1 for line in lines[4:-2])
    assert len(as_markdown(HEADER, rows).split("\n")) == 2 + len(rows)


@pytest.mark.parametrize(
    ("name", "start"), [("x.csv", "run,final"), ("x.md", "| run |"), ("new/x.TEX", r"\begin")]
)
def test_format_by_ending(tmp_path, name, start):
    assert write_table(tmp_path / name, HEADER, ROWS).read_text().startswith(start)


def test_other_endings_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"must end with \.csv, \.md, \.tex"):
        write_table(tmp_path / "x.xlsx", HEADER, ROWS)


def test_a_reader_that_has_seen_enough_is_no_failure(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):  # which `guarded` takes; SystemExit(1) is what rich would make of it
        print_table(HEADER, ROWS)


def test_a_narrow_terminal_loses_no_text(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "24")
    print_table(["run", "method.name"], [["a-long-name-of-a-run", "fedprox"]])
    cells = [line.split("│")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    joined = ["".join(parts).replace(" ", "") for parts in zip(*cells, strict=True)]
    assert joined == ["a-long-name-of-a-run", "fedprox"]
