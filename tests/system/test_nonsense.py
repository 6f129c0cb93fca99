"""Input that makes no sense: one line that names the key, exit code 2, and nothing written."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import run_simulation
from common.defaults import default_values
from common.errors import UserError
from common.records import Payload
from server.messages.failed_job import FailedJob
from tests.conftest import small_run

NO_EFFECT = [
    ("privacy.clip-norm=0.5", "privacy.clipping"),
    ("privacy.target-quantile=0.9", "privacy.clipping = 'adaptive'"),
    ("privacy.delta=1e-3", "privacy.noise-multiplier"),
    ("stragglers.policy=drop", "stragglers.fraction"),
    ("steps.max=5", "steps.rule"),
    ("steps.direction=down", "'fixed' has no parameter"),
    ("schedule.phase-gamma=0.5", "local.phases"),
    ("dataset.natural-clients=3", "do not come from clients of their own"),
    ("dataset.imbalance-profile=step", "dataset.imbalance-factor"),
    ("dataset.feature-noise-clients=3", "dataset.feature-noise"),
    ("model.size-assignment=shuffled", "model.sizes"),
    ("model.size-file=x.csv", "model.sizes"),
    ("batch-norm.batches=3", "batch-norm.policy"),
    ("stop.metric=test_loss", "stop.patience"),
    ("analysis.images=10", "analysis.similarity-rounds"),
    ("analysis.update-layers=x", "analysis.update-rounds"),
    ("analysis.sharpness-probes=3", "analysis.sharpness-images"),
    ("failures.max-fraction=0.1", "failures.policy"),
    ("runtime.workers=3", "runtime.name"),
    ("ray.address=1.2.3.4:5", "runtime.name"),
    ("resources.gpus-per-client=1.0", "runtime.name"),
    # Their defaults.
    ("privacy.clip-norm=1.0", "privacy.clipping"),
    ("attack.fraction=0.2", "attack.name"),
    ("topology.name=ring", "gossip-sgd"),
    ("partition.classes-per-client=2", "'dirichlet' has no parameter"),
    ("participation.gamma=1.0", "'uniform' has no parameter"),
]
NONSENSE = [
    (["stop.target=50"], "stop.target = 50 is never reached"),
    (["stragglers.fraction=1.0", "stragglers.policy=drop"], "stragglers.fraction = 1"),
    (["model.outputs=3"], "model.outputs = 3 is below the data's 10 classes"),
    (["model.name=stage-resnet", "method.name=heteroavg", "model.sizes=1,,2"], "model.sizes = '1,,2'"),
    (["analysis.update-rounds=1,,2"], "analysis.update-rounds must list rounds"),
    (["local.steps=2", "local.phases=3000:6,"], "local.phases must list"),
    (["local.epochs=0.5"], "local.steps"),
    (["method.name=flwr:Krum", "method.num-malicious-nodes=-1"], "method.num-malicious-nodes must be"),
    (["method.name=flwr:Krum", "method.num-malicious-nodes=5"], "needs 13 clients or more"),
    (["method.name=flwr:Bulyan", "method.num-malicious-nodes=1"], "needs 7 clients or more"),
    (["method.name=flwr:Bulyan", "clients.count=4"], "needs 3 clients or more"),
    (["method.name=flwr:MultiKrum", "method.num-nodes-to-select=9"], "method.num-nodes-to-select = 9"),
    (["method.name=flwr:FedTrimmedAvg", "method.beta=0.7"], "method.beta must be less than 0.5"),
    (["method.name=flwr:FedAdam", "method.beta-1=2.0"], "method.beta-1 must be less than 1"),
    (["device=meta"], "device 'meta' cannot be used here"),
    (["device=xla"], "device 'xla' cannot be used here"),
    (["device=hpu:7"], "device 'hpu:7' cannot be used here"),
    (["clients.count=1000000000000"], "clients.count must be less than or equal to 10000000"),
    (["clients.count=10000000"], "more than the 1437 training samples"),
    (["model.name=mlp", "model.hidden=1000000000000"], "model.name 'mlp' with these model.* keys"),
    (["model.name=mlp", "model.hidden=1000000000"], "model.name 'mlp' with these model.* keys"),
    (["resources.threads-per-worker=100000"], "resources.threads-per-worker must be"),
    (["dataset.image-size=1000000"], "dataset.image-size must be"),
    (["failures.timeout=1e300"], "failures.timeout must be"),
    (["runtime.name=ray", "ray.address=127.0.0.1:9"], "cannot reach Ray at ray.address = '127.0.0.1:9'"),
    (["runtime.name=ray", "ray.address=nonsense"], "cannot reach Ray at ray.address = 'nonsense'"),
    (["run.directory=x"], "--set does not take run.directory: use --run-dir"),
]
BAD_NAMES = [
    "_asynchronous",
    "-asynchronous",
    "../fedavg",
    "/etc/passwd",
    "a/b",
    ".",
    "",
    "_",
    "..",
    "a" * 500,
    "é",
    "x:y",
]
KINDS = ["method.name", "participation.name", "partition.name", "model.name", "dataset.name"]


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *assignments: str) -> str:
    values = small_run(text.partition("=")[0] for text in assignments)
    texts = [*(f"{key}={value}" for key, value in values.items()), *assignments]
    arguments = [part for text in texts for part in ("--set", text)]
    assert run_simulation.main([*arguments, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert len(error) < 3000
    assert not (tmp_path / "run").exists()
    return error


@pytest.mark.parametrize(("assignment", "switch"), NO_EFFECT)
def test_a_key_whose_feature_is_off(
    assignment: str, switch: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refused(capsys, tmp_path, assignment)
    assert assignment.partition("=")[0] in error
    assert switch in error


@pytest.mark.parametrize(("assignments", "complaint"), NONSENSE)
def test_a_value_that_makes_no_sense(
    assignments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint in refused(capsys, tmp_path, *assignments)


@pytest.mark.parametrize("kind", KINDS)
def test_names_that_are_no_names(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in BAD_NAMES:
        assert kind in refused(capsys, tmp_path, f'{kind}="{name}"')


VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=True), st.booleans(), st.text(max_size=8),
    st.sampled_from(["-1", "1e400", "nan", "inf", "''", "[]", "{}", "9" * 30, "0x10", "1_0", "1,2", "~"]),
)  # fmt: skip


@settings(max_examples=60)
@given(st.sampled_from(sorted(default_values())), VALUES)
def test_any_value_of_any_key_is_listed_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    """A sweep of one seed is configured and listed, and runs nothing."""
    arguments = ["--seeds", "1", "--list", "--run-dir", str(tmp_path / "sweep"), "--set", f"{key}={value}"]
    code = run_simulation.main(arguments)
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert captured.err.count("\n") == (1 if code == 2 else 0)


class TestReplay:
    @pytest.fixture
    def job(self, tmp_path: Path) -> Path:
        sections: Payload = {"arrays": {"w": torch.zeros(2)}}
        job = FailedJob(0, "train", sections, {"server-round": 1}, {}, dict(default_values()))
        job.save(tmp_path / "job")
        return tmp_path / "job"

    @pytest.mark.parametrize(
        "change",
        [{"client_id": "x"}, {"client_id": 99}, {"job": "dance"}, {"sections": ["a", "b", "c"]},
         {"run_config": {}}, {"run_config": {"rounds": "x"}}, {"message_config": {"a": {}}}, {"state": None}],
    )  # fmt: skip
    def test_another_job_than_was_saved(
        self, change: dict[str, object], job: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = json.loads((job / "job.json").read_text())
        (job / "job.json").write_text(json.dumps(content | change))
        assert run_simulation.main(["--replay", str(job)]) == 2
        assert capsys.readouterr().err.count("\n") == 1

    @settings(max_examples=40)
    @given(st.data())
    def test_damaged_files(self, job: Path, data: st.DataObject) -> None:
        copy = job.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(job, copy)
        path = copy / data.draw(st.sampled_from(["job.json", "sections-0.safetensors"]))
        content = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
        path.write_bytes(bytes(content[: data.draw(st.sampled_from([position, len(content)]))]))
        with contextlib.suppress(UserError):
            FailedJob.load(copy)


def test_initial_weights_of_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from models import build_model

    state = build_model("linear", (1, 8, 8), 10).state_dict()
    for name, change, expected in (
        ("integers", lambda value: value.to(torch.int64), "does not fit model 'linear'"),
        ("nan", lambda value: value * float("nan"), "has values that are not finite"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: change(value) for key, value in state.items()}, path)
        error = refused(capsys, tmp_path, "model.name=linear", f"model.weights={path}")
        assert expected in error
