"""What only a GPU can show; all of it is skipped where there is none."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import gpu
from common.sections import Value
from tests.conftest import Runner

pytestmark = pytest.mark.gpu
ON_GPU: dict[str, Value] = {"device": "cuda", "model__name": "small-cnn", "runtime__stack": 1}


def test_training_on_a_gpu_is_that_on_a_cpu_up_to_rounding(run_small: Runner) -> None:
    plain: dict[str, Value] = {"augmentation__name": "none", "rounds": 1}
    plain |= {"model__dropout1": 0.0, "model__dropout2": 0.0}  # a GPU's generator draws other numbers
    found = load_file(run_small("gpu", **{**ON_GPU, **plain}) / "model.safetensors")
    expected = load_file(run_small("cpu", **{**ON_GPU, **plain, "device": "cpu"}) / "model.safetensors")
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3)


def test_a_stack_on_a_gpu_is_its_clients_one_by_one_up_to_rounding(run_small: Runner) -> None:
    alone = load_file(run_small("alone", **{**ON_GPU, "rounds": 1}) / "model.safetensors")
    stacked = load_file(
        run_small("stacked", **{**ON_GPU, "rounds": 1, "runtime__stack": 3}) / "model.safetensors"
    )
    for name, value in alone.items():
        torch.testing.assert_close(stacked[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("stack", [0, 1])
def test_bfloat16_with_channels_last_learns(stack: int, run_small: Runner) -> None:
    fast: dict[str, Value] = {"local__precision": "bfloat16", "local__channels_last": True}
    path = run_small(**{**ON_GPU, **fast, "runtime__stack": stack, "rounds": 4, "clients__fraction": 1.0})
    losses = pd.read_csv(path / "metrics.csv")["train_loss"].dropna()
    assert losses.iloc[-1] < losses.iloc[0]


def test_a_profile_has_the_kernels(run_small: Runner) -> None:
    path: Path = run_small(**ON_GPU, observers="profile")
    events = json.loads((path / "profile.json").read_text())["traceEvents"]
    assert any(event.get("cat") == "kernel" for event in events)


@pytest.mark.slow
def test_workers_share_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--tiny", "--workers", "1,2"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "Ray," in line]
    assert [row.split("|")[-2].strip() for row in rows] == ["yes", "yes"]
