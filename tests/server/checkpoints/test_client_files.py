"""The states of many clients, and those that earlier versions wrote."""

import hashlib
from pathlib import Path

import pytest
import torch

import server.checkpoints.checkpoint
import server.checkpoints.client_files
from common.files import write_atomic
from common.records import Payload
from common.seal import seal, unseal
from server.checkpoints.checkpoint import CheckpointStore
from tests.server.checkpoints.examples import FIRST, SECOND, assert_same, checkpoint, commit, control, latest


def in_the_old_form(directory: Path, server_round: int) -> None:
    """Make a checkpoint what earlier versions wrote: clients' files in one folder, named by the manifest."""
    path = directory / f"round-{server_round:06d}.json"
    manifest = unseal(path.read_bytes())
    entries = {}
    for file in directory.glob("clients/*/client-*"):
        file.rename(directory / file.name)
        digest = hashlib.sha256((directory / file.name).read_bytes()).hexdigest()
        entries[str(int(file.name.split("-")[1]))] = {"name": file.name, "sha256": digest}
    (directory / manifest["clients"]["list"]).unlink()
    path.write_bytes(seal({**manifest, "clients": entries}))


def test_a_run_of_an_earlier_version_is_resumed(directory: Path) -> None:
    commit(CheckpointStore(directory), checkpoint(1, FIRST))
    in_the_old_form(directory, 1)
    resumed = CheckpointStore(directory)
    assert_same(resumed.load_latest(), checkpoint(1, FIRST))
    for server_round in range(2, 6):
        commit(resumed, checkpoint(server_round, SECOND))
        assert_same(latest(directory), checkpoint(server_round, {**FIRST, **SECOND}))
    assert [path.name for path in directory.glob("client-*")] == ["client-000000-round-000001.safetensors"]


class TestManyClients:
    """A checkpoint costs what changed, however many clients have a state."""

    def test_only_what_changed_is_written(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = CheckpointStore(directory)
        commit(store, checkpoint(1, {client: control(client) for client in range(2500)}))
        commit(store, checkpoint(2, {7: control(0.0)}))  # begins the second of the two lists
        sizes = {path: path.stat().st_size for path in directory.glob("clients-*.csv")}
        written: list[Path] = []

        def write(path: Path, content: bytes, synced: bool = True) -> None:
            written.append(path)
            write_atomic(path, content, synced=synced)

        monkeypatch.setattr(server.checkpoints.checkpoint, "write_atomic", write)
        for server_round in (3, 4):
            written.clear()
            commit(store, checkpoint(server_round, {7: control(1.0), 2400: control(server_round)}))
            assert len(written) == 5  # the model, the strategy, two clients, the manifest
            assert written[-1].stat().st_size < 2000
        grown = [path.stat().st_size - size for path, size in sizes.items()]
        assert all(0 < growth < 1000 for growth in grown)
        assert sorted(path.name for path in (directory / "clients").iterdir()) == [
            "000000",
            "000001",
            "000002",
        ]
        found = latest(directory)
        assert found is not None
        assert found.clients[2400]["control"]["w"].item() == 4
        assert found.clients[1]["control"]["w"].item() == 1

    def test_a_long_list_begins_again(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.checkpoints.client_files, "_MAX_OLD_LINES", 2)
        store = CheckpointStore(directory)
        for server_round in range(1, 30):
            commit(store, checkpoint(server_round, {0: control(server_round)}))
            assert_same(latest(directory), checkpoint(server_round, {0: control(server_round)}))
        lists = list(directory.glob("clients-*.csv"))
        assert len(lists) == 2
        assert all(len(path.read_text().splitlines()) <= 6 for path in lists)

    def test_what_a_failed_attempt_left_at_the_end_of_a_list_does_not_count(self, directory: Path) -> None:
        store = CheckpointStore(directory)
        for server_round in (1, 2):
            commit(store, checkpoint(server_round, FIRST))
        for path in directory.glob("clients-*.csv"):
            with path.open("ab") as file:
                file.write(b"5,half a li")
        assert_same(latest(directory), checkpoint(2, FIRST))
        commit(store, checkpoint(3, SECOND))
        assert_same(latest(directory), checkpoint(3, {**FIRST, **SECOND}))

    def test_a_section_without_tensors_is_a_section(self, directory: Path) -> None:
        state: Payload = {"seen": {}, "control": {"w": torch.ones(2)}}
        commit(CheckpointStore(directory), checkpoint(1, {0: state}))
        assert_same(latest(directory), checkpoint(1, {0: state}))
