"""A cluster of two Ray nodes that were started elsewhere: the code travels to them, the bits are the same."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from common.sections import Value
from tests.conftest import Runner
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


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not is_possible(), reason="needs a network namespace of its own")
def test_two_nodes_started_elsewhere_give_the_same_bits(run_small: Runner, tmp_path: Path) -> None:
    options: dict[str, Value] = {"rounds": 1, "clients__fraction": 1.0, "method__name": "scaffold"}
    run = command(tmp_path / "cluster", "--runtime", "ray", **options, **{"ray.address": ADDRESS})
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as files:  # sockets have short names
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "PYTHON": sys.executable,
            "PROJECT": str(Path(__file__).parents[2]),
            "RAY_FILES": files,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        done = subprocess.run(
            [*ISOLATED, "bash", "-c", SCRIPT, "bash", *run],
            cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray workers: 2, since 2 fit (2 machines with 1 CPUs / 1 = 1)" in done.stderr
    expected = run_small("sequential", **options)
    assert summary(tmp_path / "cluster")["model_sha256"] == summary(expected)["model_sha256"]
