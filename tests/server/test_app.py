"""The ServerApp: what Flower's runtimes print of a run that has failed."""

import errno
import traceback
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict

import server.app
from common.config import Config
from common.defaults import default_values
from common.errors import ClientFailureError, UserError
from tests.clients.jobs import small


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "metrics.csv"),
        ClientFailureError("client 1 failed in round 2"),
        UserError("clients.count is 3"),
    ],
)
def test_what_ended_a_run_is_printed_without_the_code_that_found_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(server.app, "run_experiment", fail)
    context = Context(1, 1, {}, RecordDict(), dict(small().flat()))
    grid: Any = None
    with pytest.raises(type(error)) as caught:
        server.app.main(grid, context)
    lines = "".join(traceback.format_exception(caught.value)).splitlines()
    assert lines[-1].endswith(str(error))
    assert not any("in fail" in line for line in lines)


def test_the_settings_of_a_run_are_said() -> None:
    """``flwr run --run-config "rounds = 3"`` drops the setting, because of the spaces, without a word."""
    given = {**default_values(), "rounds": 3, "overrides": "method.name = 'fedprox'\nmethod.mu = 0.5"}
    line = server.app.settings_line(Config.from_flat(given))
    assert line == (
        'settings that are not the defaults: rounds = 3, method.name = "fedprox", method.mu = 0.5'
    )
    assert "all settings are the defaults" in server.app.settings_line(Config.from_flat(default_values()))


@pytest.mark.parametrize("draw", [True, False])
def test_a_run_is_drawn_at_its_end_unless_that_is_turned_off(
    draw: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(server.app, "run_experiment", lambda *_: tmp_path)
    monkeypatch.setattr("analysis.report.write_plots", lambda _: drawn.append("plots"))
    monkeypatch.setattr("analysis.comparison.report.write_page", lambda _: drawn.append("page"))
    grid: Any = None
    values = dict(small(**{"analysis.draw": draw}).flat())
    server.app.main(grid, Context(1, 1, {}, RecordDict(), values))
    assert drawn == (["plots", "page"] if draw else [])
