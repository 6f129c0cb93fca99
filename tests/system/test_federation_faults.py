"""Faults of a federation's processes: the model is never another, and --resume ends with the same bits."""

import csv
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.errors import UserError
from common.flower_fleet import has_own_address
from common.sections import Value
from runtimes.flower_environment import FlowerProcesses
from server.records.run_directory import lock_directory
from tests.system import disk, network
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
mounts = pytest.mark.skipif(not disk.IS_POSSIBLE, reason="mounts a small disk: needs root, mount")
SECONDS = 300.0
DEADLINE = 120.0  # longer than a round takes on such a machine
LONG = 900.0  # of steps that wait for Flower's heartbeats, on a machine that has other things to do


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    with FlowerProcesses(tmp_path / "logs") as processes:
        federation = Federation(tmp_path, processes)
        processes.keep_programs()
        federation.start_superlink()
        federation.start_node(0)
        federation.start_node(1)
        yield federation


@dataclass(frozen=True)
class HeldRun:
    """A run of two rounds in the second of which client 1 waits, before its training."""

    federation: Federation
    settings: dict[str, Value]
    expected: str  # the model_sha256 without a fault
    held: Path  # the file that keeps client 1 waiting
    process: int  # the id of the process in which it waits

    def resume(self) -> None:
        """Submit it again; it has to end as without the fault."""
        self.federation.submit("run", self.settings, resume=True)
        assert "resumed after round 1 of 2" in self.federation.wait("run", LONG)
        assert self.federation.status() == "finished:completed"
        assert model_of(self.federation.folder / "run") == self.expected


def held_run(federation: Federation) -> HeldRun:
    settings = federation.settings(rounds=2, checkpoint__every=1)
    expected = undisturbed(federation.folder / "whole", settings)
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    process = federation.wait_for_held(2, 1, LONG)
    return HeldRun(federation, settings, expected, held, process)


@pytest.fixture
def held(federation: Federation) -> HeldRun:
    return held_run(federation)


@pytest.fixture
def cut_off(tmp_path: Path) -> Iterator[tuple[Federation, network.Link]]:
    """A federation with certificates and keys, whose node 1 is in another namespace; node 0 sends twice."""
    if not has_own_address():
        pytest.skip("flwr from 1.40 on has no address for nodes of other machines")
    with network.linked_namespace() as link, FlowerProcesses(tmp_path / "logs") as processes:
        federation = Federation(tmp_path, processes, secure=True, host=network.HOST)
        federation.start_superlink()
        federation.start_node(1, before=link.inside)
        processes.keep_programs()  # a process that stays here would be outside the namespace
        federation.start_node(0, program=[sys.executable, "-m", "tests.system.sends_twice"])
        yield federation, link


def is_free(run_directory: Path) -> bool:
    """Return whether no process runs in a run directory."""
    try:
        lock_directory(run_directory).close()
    except UserError:
        return False
    return True


def failures(run_directory: Path) -> list[int]:
    """Return how many clients were dropped in rounds 1, 2, ..."""
    with (run_directory / "metrics.csv").open() as file:
        return [int(row["failures"]) for row in csv.DictReader(file) if int(row["round"])]


@pytest.mark.skipif(not has_own_address(), reason="from flwr 1.40 on its ServerApp lives on")
def test_a_superlink_that_was_killed_is_started_again_on_its_database(held: HeldRun) -> None:
    federation = held.federation
    federation.kill("superlink")
    held.held.unlink()
    assert "Connection to the SuperLink is unavailable" in federation.wait("run", 60)
    assert not (federation.folder / "run" / "summary.json").exists()
    wait_until(lambda: is_free(federation.folder / "run"), SECONDS, "the end of the ServerApp")

    federation.start_superlink()  # its nodes, which are still there, find it
    held.resume()


@takes_minutes
def test_a_node_that_was_killed_in_training_is_named_and_another_takes_its_place(held: HeldRun) -> None:
    federation = held.federation
    federation.kill("node-1")
    held.held.unlink()
    federation.start_node(1, "another-node-1")
    assert "client 1 failed in round 2" in federation.wait("run", 120)  # two heartbeats
    assert federation.status() == "finished:failed"
    held.resume()


@takes_minutes
def test_a_job_whose_process_was_killed_is_sent_again_and_nothing_changes(held: HeldRun) -> None:
    federation = held.federation
    os.kill(held.process, signal.SIGKILL)
    held.held.unlink()
    said = "no reply came from client 1 (ClientApp stopped responding.): asked once more"
    assert said in federation.wait("run", LONG)
    assert federation.status() == "finished:completed"
    assert model_of(federation.folder / "run") == held.expected


@takes_minutes
def test_a_node_that_was_killed_while_sending_is_named_and_nothing_of_its_reply_counts(held: HeldRun) -> None:
    federation = held.federation
    federation.signal("superlink", signal.SIGSTOP)  # so that the reply is on its way for as long as it takes
    before = federation.log("node-1").count("Sending: train")
    held.held.unlink()
    wait_until(lambda: federation.log("node-1").count("Sending: train") > before, SECONDS, "the reply")
    federation.kill("node-1")
    federation.signal("superlink", signal.SIGCONT)
    federation.start_node(1, "another-node-1")
    assert "client 1 failed in round 2" in federation.wait("run", LONG)
    assert federation.status() == "finished:failed"
    held.resume()


@takes_minutes
def test_a_round_goes_without_a_slow_node_whose_late_reply_is_thrown_away_and_counted(
    federation: Federation,
) -> None:
    dropping: dict[str, Value] = {"failures__policy": "drop", "failures__max_fraction": 0.5}
    settings = federation.settings(rounds=4, failures__deadline=DEADLINE, **dropping)
    expected = undisturbed(federation.folder / "without", settings, failing=[(2, 1)])
    held = federation.hold(2, 1)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, LONG)

    log = federation.folder / "run" / "log.txt"
    wait_until(lambda: "round 2: dropped client 1" in log.read_text(), LONG, "the deadline")
    held.unlink()
    federation.wait("run", LONG)
    assert federation.status() == "finished:completed"
    late = "client 1 answered round 2 after failures.deadline: its reply is thrown away (late replies of this"
    assert log.read_text().count(late) == 1
    assert failures(federation.folder / "run") == [0, 1, 0, 0]
    assert model_of(federation.folder / "run") == expected


@takes_minutes
@needs_root
def test_a_cut_longer_than_the_heartbeats_drops_the_client_until_its_node_is_seen_again(
    cut_off: tuple[Federation, network.Link],
) -> None:
    federation, link = cut_off
    dropping: dict[str, Value] = {"failures__policy": "drop", "failures__max_fraction": 0.5}
    settings = federation.settings(rounds=4, failures__timeout=LONG, **dropping)
    held, other_held = federation.hold(2, 1), federation.hold(3, 0)
    federation.submit("run", settings)
    federation.wait_for_held(2, 1, LONG)

    link.cut()
    held.unlink()
    federation.wait_for_held(3, 0, 120)  # two heartbeats, then round 3 begins without client 1
    link.mend()
    wait_until(lambda: federation.nodes_online() == 2, SECONDS, "the node that was cut off")
    other_held.unlink()
    federation.wait("run", LONG)
    assert federation.status() == "finished:completed"
    assert failures(federation.folder / "run") == [0, 1, 1, 0]
    expected = undisturbed(federation.folder / "without", settings, failing=[(2, 1), (3, 1)])
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


@takes_minutes
@mounts
def test_a_disk_of_the_run_that_fills_up_ends_it_with_a_line_and_it_resumes_once_there_is_room(
    federation: Federation,
) -> None:
    with disk.small_disk(federation.folder / "run", megabytes=32) as run_directory:
        held = held_run(federation)
        filler = disk.fill(run_directory)
        held.held.unlink()
        assert "No space left on device" in federation.wait("run", LONG)
        assert federation.status() == "finished:failed"
        filler.unlink()
        held.resume()


@takes_minutes
@mounts
def test_a_disk_of_a_node_that_fills_up_in_mid_run_changes_nothing(tmp_path: Path) -> None:
    with (
        disk.small_disk(tmp_path / "node", megabytes=64) as node,
        FlowerProcesses(tmp_path / "logs") as processes,
    ):
        federation = Federation(tmp_path, processes)
        processes.keep_programs()
        federation.start_superlink()
        federation.start_node(0)
        federation.start_node(1, before=["env", f"FLWR_HOME={node}", f"TMPDIR={node}"])
        settings = federation.settings(rounds=3)
        held = federation.hold(2, 1)
        federation.submit("run", settings)
        federation.wait_for_held(2, 1, LONG)
        disk.fill(node)
        held.unlink()
        federation.wait("run", LONG)
        assert federation.status() == "finished:completed"
        assert model_of(federation.folder / "run") == undisturbed(federation.folder / "whole", settings)
