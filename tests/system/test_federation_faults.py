"""Faults of a federation's processes: the model is never another, and --resume ends with the same bits."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtimes.flower_environment import FlowerProcesses
from tests.system import network
from tests.system.federation import Federation, model_of, undisturbed, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc"),
]
takes_minutes = pytest.mark.skipif(
    "FLOWERBED_LONG_TESTS" not in os.environ, reason="takes minutes: FLOWERBED_LONG_TESTS=1"
)
needs_root = pytest.mark.skipif(not network.IS_POSSIBLE, reason="makes a network namespace: needs root, ip")
SECONDS = 300.0
LONG = 900.0  # of steps that wait for Flower's heartbeats, on a machine that has other things to do


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with FlowerProcesses(tmp_path / "logs") as processes:
        federation = Federation(tmp_path, processes)
        federation.start_superlink()
        processes.keep_clientapps()
        federation.start_node(0)
        federation.start_node(1)
        yield federation


@pytest.fixture
def cut_off(tmp_path: Path) -> Iterator[tuple[Federation, network.Link]]:
    """A federation with certificates and keys, whose node 1 is in another namespace; node 0 sends twice."""
    with network.linked_namespace() as link, FlowerProcesses(tmp_path / "logs") as processes:
        federation = Federation(tmp_path, processes, secure=True, host=network.HOST)
        federation.start_superlink()
        federation.start_node(1, before=link.inside)
        processes.keep_clientapps()  # a process that stays here would be outside the namespace
        federation.start_node(0, program=[sys.executable, "-m", "tests.system.sends_twice"])
        yield federation, link


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


@takes_minutes
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


@takes_minutes
def test_a_node_that_was_killed_while_sending_is_named_and_nothing_of_its_reply_counts(
    federation: Federation,
) -> None:
    settings = federation.settings(rounds=2, checkpoint__every=1)
    expected = undisturbed(federation.folder / "whole", settings)
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, LONG)

    federation.signal("superlink", signal.SIGSTOP)  # so that the reply is on its way for as long as it takes
    before = federation.log("node-1").count("Sending: train")
    held.unlink()
    wait_until(lambda: federation.log("node-1").count("Sending: train") > before, SECONDS, "the reply")
    federation.kill("node-1")
    federation.signal("superlink", signal.SIGCONT)
    federation.start_node(1, "another-node-1")
    assert "client 1 failed in round 2" in federation.wait("run", LONG)
    assert federation.status() == "finished:failed"

    federation.submit("run", settings, resume=True)
    assert "resumed after round 1 of 2" in federation.wait("run", LONG)
    assert model_of(federation.folder / "run") == expected


@takes_minutes
@needs_root
def test_a_cut_shorter_than_the_heartbeats_doubled_replies_and_a_stray_node_change_nothing(
    cut_off: tuple[Federation, network.Link],
) -> None:
    federation, link = cut_off
    settings = federation.settings(rounds=3, checkpoint__every=1, failures__timeout=LONG)
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, LONG)

    federation.start_node(5, "stray", among=6)
    link.cut()
    held.unlink()
    time.sleep(20)
    link.mend()
    federation.wait("run", LONG)
    assert federation.status() == "finished:completed"
    assert federation.log("node-0").count("sent again") >= 3
    assert model_of(federation.folder / "run") == undisturbed(federation.folder / "whole", settings)
