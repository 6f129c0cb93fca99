import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import run_simulation
from server.observers.profile import FILE, Profile, _table
from tests.conftest import Runner
from tests.system.commands import summary

SMALL = ["--set", "model.name=linear", "--set", "clients.count=3", "--set", "local.steps=2"]


pytestmark = pytest.mark.usefixtures("no_pictures")


def profiled(path: Path, *arguments: str) -> int:
    return run_simulation.main(["--run-dir", str(path), "--profile", *SMALL, *arguments])


def test_it_traces_the_second_round_and_shows_the_ten_dearest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert profiled(tmp_path / "traced", "--set", "rounds=3", "--set", "observers=update-norm") == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    title, *lines = printed.out[printed.out.index("profile of round 2") :].splitlines()[:12]
    assert FILE in title
    assert lines[0].split() == ["ms", "%", "calls", "operator"]
    taken = [float(line.split()[0]) for line in lines[1:]]
    assert len(taken) == 10
    assert taken == sorted(taken, reverse=True)
    assert any(re.search(r" aten::\w+$", line) for line in lines[1:])
    trace = json.loads((tmp_path / "traced" / FILE).read_text())
    multiplications = [event for event in trace["traceEvents"] if event.get("name") == "aten::addmm"]
    assert len(multiplications) >= 2 * 2  # of two clients with two steps
    assert "update_norm" in (tmp_path / "traced" / "metrics.csv").read_text()
    assert not list((tmp_path / "traced").glob(".*json"))


def test_a_run_with_one_round_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert profiled(tmp_path, "--set", "rounds=1") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "rounds" in line
    assert list(tmp_path.iterdir()) == []


def test_it_changes_no_bit_and_a_run_that_ends_before_says_so(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"model__name": "mlp", "local__epochs": 0, "local__steps": 2}
    plain, traced = run_small("plain", **small), run_small("traced", observers="profile", **small)
    assert summary(plain)["model_sha256"] == summary(traced)["model_sha256"]
    assert (traced / FILE).is_file()
    capsys.readouterr()
    assert not (run_small("short", observers="profile", stop__target=0.001, **small) / FILE).exists()
    assert "there is no profile: the run ended before" in capsys.readouterr().out


def event(name: str, cpu: float, gpu: float, count: int = 1) -> Any:
    return SimpleNamespace(key=name, self_cpu_time_total=cpu, self_device_time_total=gpu, count=count)


@pytest.mark.parametrize(("on_gpu", "first"), [(False, ["3.0", "75.0", "7"]), (True, ["8.0", "80.0", "1"])])
def test_the_table_is_of_the_processor_that_worked(on_gpu: bool, first: list[str]) -> None:
    events = [event("a", 1000, 8000.0 * on_gpu), event("b", 3000, 2000.0 * on_gpu, count=7)]
    title, _, line, _ = _table(events, 5)
    assert "round 5" in title
    assert ("10.0 ms in operators on the GPU" if on_gpu else "4.0 ms in operators on the CPU") in title
    assert line.split() == [*first, "a" if on_gpu else "b"]


@pytest.mark.parametrize(
    ("runtime", "versions", "is_said"),
    [("ray", {}, True), ("threads", {}, True), ("sequential", {}, False), ("sequential", {0: ("x",)}, True)],
)
def test_it_says_which_processes_it_does_not_see(runtime: str, versions: Any, is_said: bool) -> None:
    config = SimpleNamespace(rounds=2, runtime=SimpleNamespace(name=runtime))
    parts: Any = SimpleNamespace(config=config, clients=SimpleNamespace(versions=versions))
    notes: list[str] = []
    run: Any = SimpleNamespace(progress=SimpleNamespace(note=notes.append))
    Profile(parts).start(run)
    assert any("not those that train" in note for note in notes) is is_said
