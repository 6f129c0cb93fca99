"""Every benchmark runs and prints its table, at sizes whose figures say nothing."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import benchmarks
from benchmarks import many_clients
from server.records.run_directory import versions

PROGRAMS = [
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if module.name != "harness" and not module.ispkg
]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name == "ray_workers" else name for name in PROGRAMS],
)
def test_it_prints_a_table_of_numbers(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    importlib.import_module(f"benchmarks.{name}").main(["--tiny"])
    printed = capsys.readouterr().out
    header, rule, *rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert set(rule) <= set("|-")
    assert rows
    assert all(row.count("|") == header.count("|") for row in rows[:1])
    assert re.search(r"\| *-?\d+(\.\d+)? *\|", rows[0])
    assert f"torch {versions()['torch']}" in printed


@pytest.mark.slow
def test_rounds_of_two_numbers_of_clients_side_by_side(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    many_clients.main(["--tiny", "--pairs", "2"])
    _, _, row = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    pairs, ratio, low, high, *fastest = [float(cell) for cell in row.strip("|").split("|")]
    assert pairs == 2
    assert 0 < low <= ratio <= high
    assert len(fastest) == 2
    assert min(fastest) > 0


def test_every_program_is_described() -> None:
    text = (Path(benchmarks.__path__[0]) / "README.md").read_text(encoding="utf-8")
    assert [name for name in PROGRAMS if f"python -m benchmarks.{name}" not in text] == []
