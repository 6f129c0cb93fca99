"""``runtime.stack`` is chosen once and belongs to the run from then on."""

from pathlib import Path
from typing import Any

import pytest

from common.config_differences import differences
from common.errors import UserError
from runtimes.sequential import SequentialGrid
from server.checkpoints.stored_config import find_stored_config
from tests.conftest import Runner, small_config
from tests.contract.test_contract import metrics, model_hash

TINY: dict[str, Any] = {"model__name": "mlp", "clients__fraction": 1.0, "method__name": "scaffold"}


def stored_stack(run_directory: Path) -> object:
    stored = find_stored_config(run_directory)
    assert stored is not None
    return stored.values["runtime.stack"]


def test_a_resumed_run_keeps_its_stack_and_its_bits(run_small: Runner) -> None:
    whole = run_small("whole", rounds=4, runtime__stack=4, **TINY)
    run_small("parts", rounds=2, runtime__stack=4, **TINY)
    parts = run_small("parts", rounds=4, run__resume=True, **TINY)
    assert stored_stack(parts) == 4
    assert model_hash(parts) == model_hash(whole)
    with pytest.raises(UserError, match=r"runtime.stack was 4 and is 2"):
        run_small("parts", rounds=5, run__resume=True, runtime__stack=2, **TINY)
    alone = run_small("alone", rounds=4, **TINY)
    assert stored_stack(alone) == 1
    assert metrics(alone)["test_loss"].to_numpy() == pytest.approx(metrics(whole)["test_loss"], rel=1e-4)


def test_a_choice_by_measuring_is_stored(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[int] = []

    def rates(grid: SequentialGrid, messages: list[Any], sizes: list[int]) -> dict[int, float]:
        measured.append(len(messages))
        return dict(zip(sizes, (100.0, 400.0, 300.0), strict=True))

    monkeypatch.setattr(SequentialGrid, "measure_stacks", rates)
    run = run_small("run", rounds=1, runtime__stack=0, **TINY)
    assert measured == [6]
    assert stored_stack(run) == 4
    assert "runtime.stack = 4: local steps per second" in capsys.readouterr().out
    run_small("run", rounds=2, run__resume=True, runtime__stack=0, **TINY)
    assert measured == [6]


def test_measuring_leaves_no_trace(run_small: Runner) -> None:
    chosen = run_small("chosen", rounds=1, runtime__stack=0, **TINY)
    size = stored_stack(chosen)
    assert model_hash(chosen) == model_hash(run_small("given", rounds=1, runtime__stack=size, **TINY))


def test_a_stack_left_to_be_chosen_is_no_difference() -> None:
    old, new = small_config(runtime__stack=16), small_config()
    assert differences(old, new) == []
    assert differences(old, small_config(runtime__stack=1)) == ["runtime.stack was 16 and is 1"]
    assert differences(new, small_config(runtime__stack=1)) == []
    with pytest.raises(UserError, match=r"runtime.stack"):
        small_config(runtime__stack=-2)
