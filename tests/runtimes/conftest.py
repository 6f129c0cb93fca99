import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import run_simulation
from analysis.comparison import sweep_report
from tests.runtimes.sweeps import SMALL, SWEEP, Sweeper


@pytest.fixture
def python_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def no_sweep_plot(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> None:
    """Leave out the picture of the sweep, too, where a test does not look at it."""
    if "with_plots" not in request.fixturenames:
        monkeypatch.setattr(sweep_report, "plot_sweep", lambda pivot, metric, path: path)


@pytest.fixture
def with_plots() -> None:
    """Draw the picture of the sweep."""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweeper:
    """Run the command line on a sweep file, in ``tmp_path / "sweep"``; a key word is an override."""

    def call(*arguments: str, text: str = SWEEP, directory: str = "sweep", **overrides: object) -> int:
        file = tmp_path / "sweep.toml"
        file.write_text(text)
        settings = {**SMALL, **{key.replace("__", "."): value for key, value in overrides.items()}}
        assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return run_simulation.main(
            [str(file), "--run-dir", str(tmp_path / directory), *assignments, *arguments]
        )

    return call
