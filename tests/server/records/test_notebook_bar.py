"""The progress bar of a notebook's cell, and when it is chosen."""

import sys
import types
from typing import Any

import pytest

from server.records import notebook_bar, progress
from server.records.notebook_bar import Line, NotebookBar
from server.records.progress import LiveBar, PlainLines, make_progress


class Cell:
    """Stands for the output of a cell: one display, written again."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.displays = 0

    def display(self, line: Line, display_id: bool) -> "Cell":
        assert display_id
        self.displays += 1
        self.lines.append(line)
        return self

    def update(self, line: Line) -> None:
        self.lines.append(line)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Be the kernel of a notebook."""
    found, shell = Cell(), types.SimpleNamespace(kernel=object())
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.display = found.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return found


def test_one_line_that_is_written_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(notebook_bar.time, "monotonic", lambda: now[0])
    bar = make_progress()
    assert isinstance(bar, NotebookBar)
    bar.start(10, 1000)
    for number in range(11, 111):  # a tenth of a second each
        now[0] += 0.1
        bar.show({"round": number, "train_loss": 0.5} | ({"test_loss": 0.25} if number == 50 else {}))
    bar.stop()
    assert cell.displays == 1
    assert len(cell.lines) <= 2 + 100 * 0.1 / 0.3  # not one for each round
    text = repr(cell.lines[-1])
    assert text == "round 110/1000  train loss 0.5000  in round 50: test loss 0.2500  89 s left"
    assert cell.lines[-1]._repr_html_().startswith('<div><progress value="110" max="1000"')


def test_text_is_escaped() -> None:
    assert "<b>" not in Line("<b>", 0, 1)._repr_html_()


def test_notes_are_lines(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    NotebookBar().note("a remark")
    assert capsys.readouterr().out == "a remark\n"


def test_terminals_and_commands_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: False)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(make_progress(), LiveBar)
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # `!python ...` in a cell has a terminal without a cursor
    assert isinstance(make_progress(), PlainLines)


def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert not notebook_bar.in_notebook()
    ipython.get_ipython = lambda: None
    assert not notebook_bar.in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook_bar.in_notebook()
