"""A cluster of Ray nodes that were started elsewhere: code travels, data are found, the bits are the same."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict

from common.defaults import PROJECT_ROOT
from common.errors import CLIENT_MISCONFIGURED
from common.flower import assume_task_identity
from common.sections import Value
from tests.conftest import Runner, small_config
from tests.system.commands import command, summary

# Alone with the loopback device, and with processes that end when the script does.
ISOLATED = ("unshare", "-rn", "--pid", "--fork", "--kill-child")
ADDRESS = "127.0.0.1:26379"
SCRIPT = """
set -e
ip link set lo up
mkdir head other
(cd head && "$PYTHON" -m ray.scripts.scripts start --head --port=26379 --num-cpus=1 \
    --node-ip-address=127.0.0.1 --include-dashboard=false --temp-dir="$RAY_FILES")
(cd other && "$PYTHON" -m ray.scripts.scripts start --address=127.0.0.1:26379 --num-cpus=1 \
    --node-ip-address=127.0.0.1)
cd "$PROJECT"
exec "$@"
"""


def is_possible() -> bool:
    return (
        bool(shutil.which("ip") and shutil.which("unshare"))
        and not subprocess.run([*ISOLATED, "true"], capture_output=True, check=False).returncode
    )


def test_a_node_that_lacks_the_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtimes.ray.worker import RayWorker

    monkeypatch.setattr("ray.get", lambda reference: reference)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "192.0.2.7")
    assume_task_identity()
    message = Message(RecordDict(), dst_node_id=2, message_type="train")
    worker, config = RayWorker(0.0), small_config(dataset__name="npz", dataset__root=str(tmp_path / "data"))
    for _ in range(2):  # the second job as well: the data may have been put there
        done, state = worker.run([(config.flat(), 6)], [message.content], [message.metadata], ["kept"])
        (reply,) = done.replies
        assert state == "kept"
        assert reply.error.code == CLIENT_MISCONFIGURED
        assert reply.error.reason.startswith(
            f"the Ray node {socket.gethostname()} (192.0.2.7) cannot read the data that the server has read: "
        )
        assert reply.error.reason.endswith(
            f"; put them in {tmp_path / 'data'} there as well, or set dataset.root to a folder that all nodes"
            " share"
        )


def test_relative_paths_are_those_of_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtimes.ray.cluster import with_absolute_paths

    monkeypatch.chdir(tmp_path)
    given: dict[str, Value] = {"dataset.root": "data/../images", "model.weights": "", "run.directory": "runs"}
    assert with_absolute_paths(given) == {**given, "dataset.root": str(tmp_path / "images")}
    for path in ("~/data", "/data"):
        assert with_absolute_paths({"dataset.root": path}) == {"dataset.root": path}


def write_images(folder: Path) -> None:
    generator = np.random.default_rng(0)
    folder.mkdir()
    for split, count in (("train", 90), ("test", 20)):
        inputs = generator.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", inputs=inputs, targets=np.arange(count) % 3)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not is_possible(), reason="needs a network namespace of its own")
def test_two_nodes_started_elsewhere_give_the_same_bits(run_small: Runner, tmp_path: Path) -> None:
    options: dict[str, Value] = {"rounds": 1, "clients__fraction": 1.0, "method__name": "scaffold"}
    write_images(tmp_path / "data")
    options |= {"dataset__name": "npz", "dataset__root": os.path.relpath(tmp_path / "data", PROJECT_ROOT)}
    run = command(tmp_path / "cluster", "--runtime", "ray", **options, **{"ray.address": ADDRESS})
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as files:  # sockets have short names
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PYTHON": sys.executable,
            "PROJECT": str(PROJECT_ROOT),
            "RAY_FILES": files,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [*ISOLATED, "bash", "-c", SCRIPT, "bash", *run],
            cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray workers: 2, since 2 fit (2 machines with 1 CPUs / 1 = 1)" in done.stderr
    expected = run_small("sequential", **options | {"dataset__root": str(tmp_path / "data")})
    assert summary(tmp_path / "cluster")["model_sha256"] == summary(expected)["model_sha256"]
