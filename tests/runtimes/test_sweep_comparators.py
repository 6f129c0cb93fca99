"""Comparators of sweeps and of single runs."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import clients
import run_simulation
from clients.registry import _load_method
from tests.conftest import SMALL_RUN
from tests.runtimes.sweeps import SWEEP, Output, Sweeper, summary

pytestmark = pytest.mark.usefixtures("python_handlers", "no_sweep_plot")


LOCAL_ONLY = """
from clients.base import Client

class LocalOnly(Client):
    '''Stands for the method, where that does not exist.'''
"""


@pytest.fixture
def local_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make sure that there is such a method: the real one if it exists."""
    folder = tmp_path / "methods"
    folder.mkdir()
    (folder / "local_only.py").write_text(LOCAL_ONLY)
    monkeypatch.setattr(clients, "__path__", [*clients.__path__, str(folder)])
    _load_method.cache_clear()
    yield
    _load_method.cache_clear()
    if not (Path(clients.__path__[0]) / "local_only.py").exists():
        sys.modules.pop("clients.local_only", None)


@pytest.mark.usefixtures("local_only")
def test_comparators_share_what_is_the_same(sweep: Sweeper, tmp_path: Path, capsys: Output) -> None:
    text = SWEEP.partition("[cells")[0]
    assert sweep("--comparators", text=text) == 0
    directory = tmp_path / "sweep"
    assert sorted(path.name for path in directory.iterdir() if path.is_dir()) == [
        "fedavg,iid,as-given",
        "fedavg,iid,centralized",
        "fedavg,iid,local-only",
        "fedavg,nc2,as-given",
        "fedavg,nc2,centralized",  # other client sizes, so another number of steps in an epoch
        "fedavg,nc2,local-only",
        "scaffold,iid,as-given",
        "scaffold,nc2,as-given",
    ]
    table = pd.read_csv(directory / "table.csv", keep_default_na=False).set_index("run")
    assert len(table) == 12
    assert table.loc["scaffold,nc2,centralized", "same_as"] == "fedavg,nc2,centralized"
    assert table.loc["scaffold,iid,local-only", "same_as"] == "fedavg,iid,local-only"
    steps = table["local_steps"]
    # 1437 iid samples of 6 clients in batches of 64: 4 steps each, 3 of 6 clients a round, 2 rounds.
    assert steps["fedavg,iid,as-given"] == steps["fedavg,iid,centralized"] == 24
    # 147 or 148 samples: 3 steps each.
    assert steps["fedavg,nc2,as-given"] == steps["fedavg,nc2,centralized"] == 18
    curves = [
        pd.read_csv(directory / f"fedavg,iid,{name}" / "metrics.csv") for name in ("as-given", "centralized")
    ]
    assert curves[0]["round"].tolist() == curves[1]["round"].tolist()
    capsys.readouterr()
    assert sweep("--comparators", "--list", "--only", "scaffold,centralized", text=text) == 0
    listed = capsys.readouterr().out
    assert "same as" in listed
    assert "fedavg,iid,centralized" in listed
    assert "as-given" not in listed


def test_one_comparator_of_a_single_run(tmp_path: Path, capsys: Output) -> None:
    arguments = [part for key, value in SMALL_RUN.items() for part in ("--set", f"{key}={value}")]
    run_directory = str(tmp_path / "run")
    assert run_simulation.main([*arguments, "--run-dir", run_directory, "--comparator", "centralized"]) == 0
    config = summary(tmp_path / "run")["config"]
    assert (config["clients.count"], config["partition.name"]) == (1, "iid")  # type: ignore[index]
    again = ["--run-dir", run_directory, "--resume", "--comparator", "centralized", "--set", "rounds=4"]
    assert run_simulation.main(again) == 0
    assert summary(tmp_path / "run")["rounds"] == 4
    assert run_simulation.main([*arguments, "--comparator", "best"]) == 2
    assert "there is no comparator 'best'" in capsys.readouterr().err


def test_comparators_of_a_single_experiment(tmp_path: Path, capsys: Output) -> None:
    arguments = [part for key, value in SMALL_RUN.items() for part in ("--set", f"{key}={value}")]
    only = ["--comparators", "--only", "as-given,centralized"]
    assert run_simulation.main([*arguments, "--run-dir", str(tmp_path / "all"), *only]) == 0
    output = capsys.readouterr().out
    assert "centralized" in output
    assert {path.name for path in (tmp_path / "all").iterdir() if path.is_dir()} == {
        "as-given",
        "centralized",
    }
