"""What clients keep: in memory up to a budget, the rest in files, with the same bits."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import ConfigRecord, RecordDict
from flwr.clientapp import ClientApp

import runtimes.client_states
from clients.app import app
from common.files import write_atomic
from common.records import MET, Tensors, to_payload, to_record
from common.sections import Value
from common.state_files import encode_state
from runtimes.client_states import ClientStates
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.system.commands import summary


def section(client_id: int) -> Tensors:
    return {
        "w": torch.full((25,), client_id / 7),  # 100 bytes
        "exact": torch.tensor([1 / 3, client_id], dtype=torch.float64),
        "count": torch.tensor(client_id),
    }


def keep(states: ClientStates, client_id: int, round_: int = 0) -> None:
    states.open(client_id)["control"] = to_record(section(client_id + round_))
    states.settle()


def held(states: ClientStates, client_id: int) -> Tensors:
    found = to_payload(states.open(client_id))["control"]
    states.settle()
    return found


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    paths: list[Path] = []

    def write(path: Path, content: bytes, synced: bool) -> None:
        paths.append(path)
        write_atomic(path, content, synced=synced)

    monkeypatch.setattr(runtimes.client_states, "write_atomic", write)
    return paths


def test_what_exceeds_the_budget_waits_in_files_and_comes_back_to_the_bit(tmp_path: Path) -> None:
    states = ClientStates(1000)  # some eight of them
    states.spill_below(tmp_path / "states")
    for client_id in range(0, 5000, 50):
        keep(states, client_id)
        assert states.num_held <= 8
    assert {path.name for path in (tmp_path / "states").iterdir()} == {f"{i:06d}" for i in range(5)}
    for client_id in range(0, 5000, 50):
        found, expected = held(states, client_id), section(client_id)
        assert {name: (v.dtype, v.shape) for name, v in found.items()} == {
            name: (v.dtype, v.shape) for name, v in expected.items()
        }
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert states.num_held <= 8
    states.clear()
    assert not (tmp_path / "states").exists()


def test_keeping_within_the_budget_looks_at_those_that_go_alone(tmp_path: Path) -> None:
    """A look at all in memory, for each of many clients, would cost the square of their number."""
    states = ClientStates(100_000)
    states.spill_below(tmp_path / "states")
    looked: list[int] = []

    class Watched(OrderedDict[int, RecordDict]):
        def items(self) -> Any:
            for client_id, state in super().items():
                looked.append(client_id)
                yield client_id, state

    states._held = Watched()
    for client_id in range(1000):
        keep(states, client_id)
    assert states.num_held < 900
    assert len(looked) < 2000  # of 1000 times, and those that went


def test_without_a_budget_all_stays_in_memory(tmp_path: Path, written: list[Path]) -> None:
    states = ClientStates()
    states.spill_below(tmp_path / "states")
    for client_id in range(50):
        keep(states, client_id)
    assert states.num_held == 50
    assert written == []


def test_a_state_that_did_not_change_is_not_written_again(tmp_path: Path, written: list[Path]) -> None:
    states = ClientStates(1)
    states.spill_below(tmp_path / "states")
    keep(states, 3)
    assert len(written) == 1
    held(states, 3)
    assert len(written) == 1
    keep(states, 3, round_=1)
    assert len(written) == 2
    assert held(states, 3)["count"].item() == 4


def test_reading_all_writes_none(tmp_path: Path, written: list[Path]) -> None:
    """As a checkpoint does, for which those in memory need not make room."""
    states = ClientStates(1000)
    states.spill_below(tmp_path / "states")
    for client_id in range(50):
        keep(states, client_id)
    in_memory, so_far = states.num_held, len(written)
    assert so_far == 50 - in_memory
    for client_id in range(50):
        assert held(states, client_id)["count"].item() == client_id
    assert len(written) == so_far
    assert states.num_held == in_memory


def test_a_state_in_use_stays_in_memory_when_others_are_settled(tmp_path: Path, written: list[Path]) -> None:
    states = ClientStates(1)
    states.spill_below(tmp_path / "states")
    for client_id in (3, 5):
        states.open(client_id)["control"] = to_record(section(client_id))
    states.settle([5])
    assert [path.name for path in written] == ["client-000005.safetensors"]
    states.open(3)["control"] = to_record(section(8))  # still that of before: it is being changed
    states.settle([3])
    assert len(written) == 2
    assert held(states, 3)["count"].item() == 8


def test_a_checkpoint_has_it_already(tmp_path: Path, written: list[Path]) -> None:
    states = ClientStates(1)
    states.spill_below(tmp_path / "states")
    keep(states, 3)
    (own,) = written
    committed = tmp_path / "client-000003-round-000001.safetensors"
    committed.write_bytes(encode_state({"control": section(3)}))
    states.adopt(3, committed)
    assert not own.exists()
    assert held(states, 3)["count"].item() == 3
    assert len(written) == 1
    keep(states, 3, round_=5)
    assert committed.exists()  # it is the checkpoint's
    assert held(states, 3)["count"].item() == 8


def test_other_records_and_empty_sections_are_kept_too(tmp_path: Path) -> None:
    states = ClientStates(1)
    states.spill_below(tmp_path / "states")
    state = states.open(0)
    state["aside"] = ConfigRecord({"number": "4-0"})
    state["seen"] = to_record({})
    state["control"] = to_record(section(0))
    states.settle()
    assert states.num_held == 0
    again = states.open(0)
    assert set(again) == {"aside", "seen", "control"}
    assert dict(again.config_records["aside"]) == {"number": "4-0"}


def test_clients_that_keep_nothing_leave_nothing() -> None:
    states = ClientStates()
    for client_id in range(100):
        states.open(client_id)[MET] = ConfigRecord()
    states.settle()
    assert states.num_held == 0


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "states" / "000000").mkdir(parents=True)
    (tmp_path / "states" / "000000" / "client-000001.safetensors").write_bytes(b"half")
    states = ClientStates(1)
    states.spill_below(tmp_path / "states")
    assert list(states.open(1)) == []
    assert not (tmp_path / "states").exists()


class TightGrid(SequentialGrid):
    """Has room for one state."""

    def __init__(self, client_app: ClientApp, num_clients: int, run_config: Mapping[str, Value]) -> None:
        super().__init__(client_app, num_clients, run_config)
        self.states = ClientStates(3000)


@pytest.mark.parametrize("policy", ["raise", "drop"])
@pytest.mark.parametrize("method", ["scaffold", "fedper"])
def test_a_run_within_a_budget_has_the_same_bits_also_when_it_is_resumed(
    run_small: Runner, tmp_path: Path, method: str, policy: str
) -> None:
    options = {"method__name": method, "rounds": 4, "checkpoint__every": 2, "failures__policy": policy}
    expected = summary(run_small("alone", **options))["model_sha256"]
    tight = run_small("tight", TightGrid, **options)
    assert summary(tight)["model_sha256"] == expected

    options["rounds"] = 2
    run_small("resumed", TightGrid, **options)
    config = small_config(tmp_path / "resumed", **{**options, "rounds": 4, "run__resume": True})
    path = run_experiment(config, TightGrid(app, 6, config.flat()), PlainLines())
    assert summary(path)["model_sha256"] == expected


def test_the_budget_is_in_megabytes() -> None:
    grid = SequentialGrid(app, 6, {"state.memory-budget": 3})
    assert grid.states.budget == 3_000_000
