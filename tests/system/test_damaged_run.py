"""What ``--resume`` makes of a run directory that was damaged after its run: the same bits, and one line."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import run_simulation
from common.errors import UserError
from runtimes.sweep_state import state_of
from tests.conftest import Runner, small_config
from tests.system.commands import summary

ROUNDS = {"rounds": 4, "checkpoint__every": 2}


pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def whole(run_small: Runner) -> Path:
    return run_small("whole", rounds=6, checkpoint__every=2)


@pytest.fixture
def part(run_small: Runner) -> Path:
    return run_small("part", **ROUNDS)


def resume(path: Path) -> int:
    return run_simulation.main(["--run-dir", str(path), "--resume", "--set", "rounds=6"])


def rows(path: Path, name: str) -> list[str]:
    """Return what does not depend on time."""
    header, *lines = (path / f"{name}.csv").read_text().splitlines()
    timed = {i for i, column in enumerate(header.split(",")) if column.startswith("seconds")}
    return [",".join(v for i, v in enumerate(line.split(",")) if i not in timed) for line in [header, *lines]]


def lose(*names: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return damage


def shorten(name: str) -> Callable[[Path], None]:
    return lambda path: os.truncate(path / name, (path / name).stat().st_size // 2)


def other_round(path: Path) -> None:
    manifest = path / "checkpoints" / "round-000004.json"
    manifest.write_text(manifest.read_text().replace('"round": 4', '"round": 5', 1))


def other_shape(path: Path) -> None:
    (path / "checkpoints" / "round-000004.json").write_text("[]")


def alter(path: Path) -> None:
    table = path / "metrics.csv"
    table.write_text(table.read_text().replace("1,", "9,", 1))


def from_the_older_one(path: Path) -> None:
    for name in ("metrics.csv", "checkpoints/rows-metrics.csv"):
        lines = (path / name).read_text().splitlines(keepends=True)
        (path / name).write_text("".join(lines[: 4 if name == "metrics.csv" else 3]))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config.toml": (lose("config.toml"), "config.toml is missing: the configuration is that of the last"),
    "half of config.toml": (shorten("config.toml"), "the configuration is that of the last checkpoint"),
    "no metrics.csv": (lose("metrics.csv"), "metrics.csv has 0 of 5 rows: they were taken from their copy"),
    "half of metrics.csv": (shorten("metrics.csv"), "rows: they were taken from their copy"),
    "half of clients.csv": (shorten("clients.csv"), "rows: they were taken from their copy"),
    "another number in metrics.csv": (alter, "metrics.csv was changed: they were taken from their copy"),
    "another round": (other_round, "round-000004.json: it is damaged"),
    "another shape": (other_shape, "round-000004.json: it has no hash of itself"),
    "rows of the older checkpoint alone": (
        from_the_older_one,
        "round-000004.json: metrics.csv has 3 of 5 rows",
    ),
}


@pytest.mark.parametrize(("damage", "line"), DAMAGES.values(), ids=DAMAGES)
def test_a_resumed_run_ends_with_the_same_bits_and_rows(
    whole: Path,
    part: Path,
    damage: Callable[[Path], None],
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(part)
    capsys.readouterr()
    assert resume(part) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert line in output
    assert summary(part)["model_sha256"] == summary(whole)["model_sha256"]
    for name in ("metrics", "clients", "evaluations"):
        assert rows(part, name) == rows(whole, name)
    assert "rounds = 6\n" in (part / "config.toml").read_text()


def test_rows_that_are_lost_for_good_are_refused(part: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("metrics.csv", "checkpoints/rows-metrics.csv"):
        (part / name).unlink()
    before = (part / "config.toml").read_bytes()
    assert resume(part) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "metrics.csv has 0 of 5 rows, and its copy checkpoints/rows-metrics.csv lacks them" in error
    assert (part / "config.toml").read_bytes() == before


def test_a_run_without_its_configuration_is_not_written_over(
    part: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (part / "config.toml").unlink()
    (part / "summary.json").unlink()
    assert run_simulation.main(["--run-dir", str(part)]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_strangers_below_checkpoints_stay(part: Path) -> None:
    folder = part / "checkpoints"
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("x")
    (folder / "notes.txt").write_text("x")
    assert resume(part) == 0
    assert (folder / "mine" / "notes.txt").read_text() == (folder / "notes.txt").read_text() == "x"


def test_a_damaged_summary_of_a_sweep_is_one_line(part: Path) -> None:
    for content in ("", "{", "[]", '{"config": 4}', '{"config": {"rounds": "x"}}', "\x00", "[" * 100_000):
        (part / "summary.json").write_text(content)
        with pytest.raises(
            UserError, match=r"summary\.json is not the summary of a run: delete it"
        ) as raised:
            state_of(part, small_config(part, **ROUNDS))
        assert "\n" not in str(raised.value)


def test_a_run_of_a_sweep_without_its_configuration_is_unfinished(part: Path) -> None:
    for name in ("summary.json", "config.toml"):
        (part / name).unlink()
    state = state_of(part, small_config(part, **ROUNDS))
    assert (state.kind, state.differences) == ("unfinished", [])
    shutil.rmtree(part / "checkpoints")
    assert state_of(part, small_config(part, **ROUNDS)).kind == "new"
