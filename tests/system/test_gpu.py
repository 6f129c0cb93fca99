"""Training on a GPU: on a fake one where there is none, but for what only a real one can show."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import gpu
from common.sections import Value
from runtimes.prediction.confusion import main as confusion
from runtimes.prediction.predict import main as predict
from tests.conftest import Runner
from tests.fake_gpu import FakeGpu, fake_gpu

ON_GPU: dict[str, Value] = {"device": "cuda", "model__name": "small-cnn", "runtime__stack": 1}
# A GPU's generator draws other numbers than a CPU's.
PLAIN: dict[str, Value] = {"augmentation__name": "none", "model__dropout1": 0.0, "model__dropout2": 0.0}
STACK: dict[str, Value] = {"runtime__stack": 3}
# What moves tensors by itself, beside the methods, each of which the contract suite trains.
OPTIONS: dict[str, dict[str, Value]] = {
    "crop and flip": {"augmentation__name": "crop-flip", "augmentation__cutout": 2},
    "resized crop": {"augmentation__name": "resized-crop-flip"},
    "noise of labels": {"dataset__label_noise": 0.2},
    "noise of labels, stacked": {"dataset__label_noise": 0.2, **STACK},
    "noise of clients": {"dataset__client_noise": 0.3},
    "noise of clients, stacked": {"dataset__client_noise": 0.3, **STACK},
    "attack": {"attack__name": "gaussian", "attack__fraction": 0.4},
    "clipping": {"optimizer__clip_norm": 0.5, **STACK},
    "lamb": {"optimizer__name": "lamb"},
    "focal": {"loss__name": "focal", **STACK},
    "ldam": {"loss__name": "ldam"},
    "privacy": {"privacy__clipping": "adaptive", "privacy__noise_multiplier": 0.1},
    "participation by loss": {"participation__name": "loss-proportional"},
    "participation by updates": {
        "participation__name": "clustered",
        "participation__similarity": "updates",
    },
    "samples of all": {"local__sampling": "shuffle", "local__steps": 2, "local__epochs": 0},
    "recalibration": {
        "model__name": "resnet20",
        "batch_norm__policy": "recalibrate",
        "batch_norm__augmented": True,
        "local__steps": 1,
        "local__epochs": 0,
    },
    "analyses": {
        "analysis__similarity_rounds": "1",
        "analysis__update_rounds": "1",
        "analysis__feature_rounds": "1",
        "analysis__sharpness_images": 16,
        "analysis__sharpness_probes": 2,
    },
    "observers": {"observers": "drift,update-norm"},
}


@pytest.fixture(autouse=True)
def fake(request: pytest.FixtureRequest) -> Iterator[FakeGpu | None]:
    """Pretend that there is a GPU, unless there is one or a test needs a real one."""
    if torch.cuda.is_available() or request.node.get_closest_marker("gpu"):
        yield None
        return
    with fake_gpu() as made:
        yield made


def assert_alike(found: Path, expected: Path) -> None:
    values = load_file(found / "model.safetensors")
    for name, value in load_file(expected / "model.safetensors").items():
        torch.testing.assert_close(values[name], value, rtol=1e-2, atol=1e-3)


def test_training_on_a_gpu_is_that_on_a_cpu_up_to_rounding(run_small: Runner) -> None:
    found = run_small("gpu", **{**ON_GPU, **PLAIN, "rounds": 1})
    assert_alike(found, run_small("cpu", **{**ON_GPU, **PLAIN, "rounds": 1, "device": "cpu"}))


def test_a_stack_on_a_gpu_is_its_clients_one_by_one_up_to_rounding(run_small: Runner) -> None:
    alone = run_small("alone", **{**ON_GPU, "rounds": 1})
    assert_alike(run_small("stacked", **{**ON_GPU, "rounds": 1, **STACK}), alone)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_a_run_with_what_moves_tensors_by_itself(options: dict[str, Value], run_small: Runner) -> None:
    path = run_small(**{"device": "cuda", "runtime__stack": 1, "rounds": 2, **options})
    assert pd.read_csv(path / "metrics.csv")["test_loss"].dropna().map(np.isfinite).all()


def test_a_model_from_a_gpu_predicts_there_and_elsewhere(run_small: Runner, tmp_path: Path) -> None:
    path = run_small(device="cuda", method__name="ditto", rounds=1)
    np.savez(tmp_path / "images.npz", inputs=np.zeros((3, 1, 8, 8), np.uint8))
    for options in ([], ["--client", "1"]):
        assert predict([str(path), str(tmp_path / "images.npz"), *options]) == 0
    assert confusion([str(path)]) == 0


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method__name": "scaffold"},
        {"method__name": "fedntd"},
        {"method__name": "moon", "runtime__stack": 2},
        {"optimizer__clip_norm": 0.5, "dataset__label_noise": 0.2},
        {"optimizer__clip_norm": 0.5, "dataset__label_noise": 0.2, "runtime__stack": 2},
        {"model__name": "small-cnn", "augmentation__name": "resized-crop-flip", "augmentation__cutout": 2},
    ],
)
def test_a_local_step_waits_for_nothing(
    options: dict[str, Value], run_small: Runner, fake: FakeGpu | None
) -> None:
    """A GPU is given the next step while it is busy with the one before."""
    if fake is None:
        pytest.skip("a real GPU does not count transfers")
    keys: dict[str, Value] = {
        **{"device": "cuda", "runtime__stack": 1, "rounds": 1, "clients__count": 2, "clients__fraction": 1.0},
        **{"partition__name": "iid", "schedule__name": "constant", "local__epochs": 0},
    }
    transfers: list[int] = []
    for steps in (2, 5):
        fake.transfers.clear()
        run_small(f"{steps}-steps", **{**keys, "local__steps": steps, **options})
        transfers.append(len(fake.transfers))
    assert transfers[0] == transfers[1] > 0


@pytest.mark.parametrize("stack", [0, 1])
def test_bfloat16_with_channels_last_learns(stack: int, run_small: Runner) -> None:
    fast: dict[str, Value] = {"local__precision": "bfloat16", "local__channels_last": True}
    enough: dict[str, Value] = {"rounds": 3, "clients__fraction": 1.0, "local__batch_size": 16}
    keys = {**ON_GPU, **PLAIN, **fast, **enough, "schedule__name": "constant", "runtime__stack": stack}
    losses = pd.read_csv(run_small(**keys) / "metrics.csv")["train_loss"].dropna()
    assert losses.iloc[-1] < 0.9 * losses.iloc[0]


def test_the_benchmark_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--tiny", "--workers", ""])
    assert "sequential run" in capsys.readouterr().out


@pytest.mark.gpu
def test_a_profile_has_the_kernels(run_small: Runner) -> None:
    path: Path = run_small(**ON_GPU, observers="profile")
    events = json.loads((path / "profile.json").read_text())["traceEvents"]
    assert any(event.get("cat") == "kernel" for event in events)


@pytest.mark.gpu
@pytest.mark.slow
def test_workers_share_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--tiny", "--workers", "1,2"])
    rows = [line for line in capsys.readouterr().out.splitlines() if "Ray," in line]
    assert [row.split("|")[-2].strip() for row in rows] == ["yes", "yes"]
