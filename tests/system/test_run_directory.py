"""docs/run-directory.md names every file and column of a run, and its Python works."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot

from common.defaults import PROJECT_ROOT
from common.errors import UserError
from run_simulation import main
from run_simulation import run as run_in_python

PAGE = (PROJECT_ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
NAMES = set(re.findall(r"`([^`\n]+)`", PAGE))
PATTERN = re.compile("|".join(re.sub(r"…|<\w+>", ".+", re.escape(name)) for name in NAMES))
SMALL = (
    "rounds=1", "clients.count=4", "clients.fraction=0.5", "local.steps=1", "model.name=mlp",
    "dataset.validation-fraction=0.1", "clients.evaluate-fraction=1.0", "evaluate.groups=counts",
)  # fmt: skip


METHODS = (("fedavg", 0), ("fedprox", 1))


@pytest.fixture(scope="module", params=["fedavg", "fedper"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a method without personal models, and one with them."""
    path = tmp_path_factory.mktemp("run") / "runs" / "x"
    overrides = [part for pair in (*SMALL, f"method.name={request.param}") for part in ("--set", pair)]
    assert main([*overrides, "--run-dir", str(path)]) == 0
    return path


def blocks() -> Iterator[str]:
    yield from re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_file_is_named(run: Path) -> None:
    found = {path.name + "/" * path.is_dir() for path in run.iterdir()}
    assert found - NAMES == set()


def test_every_key_of_the_summary_is_named(run: Path) -> None:
    keys = json.loads((run / "summary.json").read_text())
    assert [key for key in keys if not PATTERN.fullmatch(key)] == []


def test_every_column_is_named(run: Path) -> None:
    for file in run.glob("*.csv"):
        columns = pd.read_csv(file, nrows=1).columns
        named = columns[:2] if file.name == "label_distribution.csv" else columns  # then a column per class
        assert [name for name in named if not PATTERN.fullmatch(name)] == [], file.name


def test_the_columns_of_every_run_are_there(run: Path) -> None:
    table = PAGE.partition("\n## metrics.csv\n")[2].partition("`plots/phases.png`")[0]
    cells = " ".join(re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE))
    named = set(re.findall(r"`(\w+)`", cells))
    assert len(named) > 20
    assert named - set(pd.read_csv(run / "metrics.csv").columns) == set()


def test_pandas_reads_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent.parent)
    names: dict[str, Any] = {}
    code = next(blocks())
    if "accuracy" not in pd.read_csv(run / "evaluations.csv"):
        code = code.replace('["accuracy"]', '["personal_accuracy"]')
    exec(code, names)
    pyplot.close("all")
    assert list(names["curve"].index) == [0, 1]
    assert len(names["by_client"]) == 4
    assert names["by_class"].shape == (2, 10)


def test_methods_are_compared_by_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences 0.1, 0.2, 0.3: t = 0.2 / (0.1 / sqrt(3)), for which p = 1 - t / sqrt(t^2 + 2)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "sweep").mkdir(parents=True)
    rows = [
        f"{name},{seed},{0.5 + better * (seed + 1) / 10}" for seed in (2, 0, 1) for name, better in METHODS
    ]
    content = "\n".join(["method,seed,final_test_accuracy", *rows])
    (tmp_path / "runs" / "sweep" / "table.csv").write_text(content)
    names: dict[str, Any] = {}
    exec(list(blocks())[1], names)
    assert names["difference"] == pytest.approx(0.2)
    assert names["p_value"] == pytest.approx(1 - (12 / 14) ** 0.5)
    assert (names["low"], names["high"]) == pytest.approx((-0.0484, 0.4484), abs=1e-4)


@pytest.mark.usefixtures("no_pictures")
def test_runs_are_started_and_read_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    *_, code = blocks()
    exec(code.replace('"rounds": 20', '"rounds": 1'), names)
    assert list(names["curves"].columns) == ["fedavg", "fedprox"]
    assert names["finals"]["fedavg"] == pytest.approx(names["curves"]["fedavg"].iloc[-1])
    assert names["configurations"].loc["method.name", "fedprox"] == "fedprox"


@pytest.mark.usefixtures("no_pictures")
def test_a_run_in_python_returns_its_rows_or_raises(tmp_path: Path) -> None:
    keys = {"model.name": "mlp", "clients.count": np.int64(4), "local.drop-last": True, "local.steps": 1}
    given = {**keys, "dataset.root": tmp_path, "rounds": 1}
    first = run_in_python(tmp_path / "run", given)
    assert first["round"].tolist() == [0, 1]
    assert run_in_python(tmp_path / "run", given).equals(first)  # is left alone
    assert run_in_python(tmp_path / "run", {"rounds": 2})["round"].tolist() == [0, 1, 2]
    config = json.loads((tmp_path / "run" / "summary.json").read_text())["config"]
    assert {key: config[key] for key in keys} == keys
    assert config["dataset.root"] == str(tmp_path)
    with pytest.raises(UserError, match=r"unknown key 'local.stepz'; did you mean 'local.steps'"):
        run_in_python(tmp_path / "other", {"local.stepz": 1})


@pytest.mark.usefixtures("no_pictures")
def test_a_sweep_in_python_returns_its_table(tmp_path: Path) -> None:
    keys = {"model.name": "mlp", "clients.count": 4, "local.steps": 1, "rounds": 1}
    table = run_in_python(tmp_path / "sweep", keys, "--seeds", "0,1")
    assert table["run"].tolist() == ["seed0", "seed1"]
