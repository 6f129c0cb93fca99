"""Faults of a federation's processes: the model is never another, and --resume ends with the same bits."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimes.flower_environment import FlowerProcesses
from tests.system.federation import Federation, model_of, undisturbed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc"),
]
SECONDS = 300.0


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with FlowerProcesses(tmp_path / "logs") as processes:
        federation = Federation(tmp_path, processes)
        federation.start_superlink()
        processes.keep_clientapps()
        federation.start_node(0)
        federation.start_node(1)
        yield federation


def test_a_superlink_that_was_killed_is_started_again_on_its_database(federation: Federation) -> None:
    settings = federation.settings(rounds=2, checkpoint__every=1)
    expected = undisturbed(federation.folder / "whole", settings)
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, SECONDS)

    federation.kill("superlink")
    held.unlink()
    assert "Connection to the SuperLink is unavailable" in federation.wait("run", 60)
    assert not (federation.folder / "run" / "summary.json").exists()

    federation.start_superlink()  # its nodes, which are still there, find it
    federation.submit("run", settings, resume=True)
    assert "resumed after round 1 of 2" in federation.wait("run", SECONDS)
    assert federation.status() == "finished:completed"
    assert model_of(federation.folder / "run") == expected


@pytest.mark.skipif("FLOWERBED_LONG_TESTS" not in os.environ, reason="takes minutes: FLOWERBED_LONG_TESTS=1")
def test_a_node_that_was_killed_in_training_is_named_and_another_takes_its_place(
    federation: Federation,
) -> None:
    settings = federation.settings(rounds=2, checkpoint__every=1)
    expected = undisturbed(federation.folder / "whole", settings)
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, SECONDS)

    federation.kill("node-1")
    held.unlink()
    federation.start_node(1, "another-node-1")
    assert "client 1 failed in round 2" in federation.wait("run", 120)  # two heartbeats
    assert federation.status() == "finished:failed"

    federation.submit("run", settings, resume=True)
    assert "resumed after round 1 of 2" in federation.wait("run", SECONDS)
    assert federation.status() == "finished:completed"
    assert model_of(federation.folder / "run") == expected
