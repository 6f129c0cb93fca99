"""What is committed, kept and loaded, also after a kill."""

import errno
import json
from pathlib import Path

import pytest
import torch

import server.checkpoints.checkpoint
import server.checkpoints.client_files
from common.files import write_atomic
from server.checkpoints.checkpoint import CheckpointStore
from tests.server.checkpoints.examples import FIRST, SECOND, assert_same, checkpoint, commit, control, latest


def test_what_was_committed_is_loaded(directory: Path) -> None:
    saved = checkpoint(4, {0: control(1.0), 123: control(2.0)})
    saved.arrays["transposed"] = torch.arange(6.0).view(2, 3).t()
    saved.arrays["empty"] = torch.zeros(0, 3)
    commit(CheckpointStore(directory), saved)
    assert_same(latest(directory), saved)


def test_there_may_be_none(directory: Path) -> None:
    assert latest(directory) is None
    directory.mkdir()
    assert latest(directory) is None


def test_the_newest_counts(directory: Path) -> None:
    store = CheckpointStore(directory)
    for server_round in (2, 9, 10, 100):
        commit(store, checkpoint(server_round))
        assert_same(latest(directory), checkpoint(server_round))


def test_states_of_clients_that_did_not_train_are_carried_over(directory: Path) -> None:
    store = CheckpointStore(directory)
    commit(store, checkpoint(1, {0: control(1.0), 1: control(10.0)}))
    for server_round in range(2, 8):
        commit(store, checkpoint(server_round, {1: control(10.0 * server_round)}))
        expected = checkpoint(server_round, {0: control(1.0), 1: control(10.0 * server_round)})
        assert_same(latest(directory), expected)
    assert (directory / "clients" / "000000" / "client-000000-round-000001.safetensors").exists()


def test_they_are_carried_over_by_a_resumed_run_too(directory: Path) -> None:
    commit(CheckpointStore(directory), checkpoint(1, {0: control(1.0)}))
    for server_round in range(2, 6):
        resumed = CheckpointStore(directory)
        resumed.load_latest()
        commit(resumed, checkpoint(server_round, {1: control(server_round)}))
        assert_same(latest(directory), checkpoint(server_round, {0: control(1.0), 1: control(server_round)}))


def test_only_what_the_last_two_name_is_kept(directory: Path) -> None:
    store = CheckpointStore(directory)
    for server_round in range(1, 6):
        commit(store, checkpoint(server_round, {server_round % 2: control(server_round)}))
    assert sorted(path.name for path in directory.rglob("*") if path.is_file()) == [
        "arrays-round-000004.safetensors",
        "arrays-round-000005.safetensors",
        "client-000000-round-000004.safetensors",
        "client-000001-round-000003.safetensors",  # named by the checkpoint of round 4
        "client-000001-round-000005.safetensors",
        "clients-round-000001.csv",
        "clients-round-000002.csv",
        "round-000004.json",
        "round-000005.json",
        "strategy-round-000004.safetensors",
        "strategy-round-000005.safetensors",
    ]


def test_left_overs_of_a_kill_are_removed(directory: Path) -> None:
    store = CheckpointStore(directory)
    commit(store, checkpoint(1))
    (directory / ".arrays-round-000002.safetensors.99.tmp").write_bytes(b"part")
    (directory / "arrays-round-000002.safetensors").write_bytes(b"never named")
    commit(store, checkpoint(3))
    assert {path.name for path in directory.iterdir() if "000002" in path.name} == set()


class TestKilled:
    def fail_at(self, monkeypatch: pytest.MonkeyPatch, index: int, error: BaseException) -> None:
        """Let the write number `index` of what follows write a part of its file, and fail."""
        count = iter(range(100))

        def write(path: Path, content: bytes, synced: bool = True) -> None:
            if next(count) == index:
                path.with_name(f".{path.name}.tmp").write_bytes(content[: len(content) // 2])
                raise error
            write_atomic(path, content)

        monkeypatch.setattr(server.checkpoints.checkpoint, "write_atomic", write)

    def num_writes(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
        calls: list[Path] = []

        def write(path: Path, content: bytes, synced: bool = True) -> None:
            calls.append(path)
            write_atomic(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(server.checkpoints.checkpoint, "write_atomic", write)
            commit(CheckpointStore(directory), checkpoint(1, SECOND))
        assert calls[-1].suffix == ".json"  # the manifest commits, so it is last
        return len(calls)

    @pytest.mark.parametrize("index", range(4))
    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
    def test_at_any_write_the_previous_one_stays_in_force(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, index: int, error: BaseException
    ) -> None:
        assert self.num_writes(directory.with_name("counted"), monkeypatch) == 4
        store = CheckpointStore(directory)
        commit(store, checkpoint(1, FIRST))
        with monkeypatch.context() as patch:
            self.fail_at(patch, index, error)
            with pytest.raises(type(error)):
                commit(store, checkpoint(2, SECOND))
        assert_same(latest(directory), checkpoint(1, FIRST))

        resumed = CheckpointStore(directory)
        resumed.load_latest()
        commit(resumed, checkpoint(2, SECOND))
        assert_same(latest(directory), checkpoint(2, {**FIRST, **SECOND}))
        assert not [path for path in directory.iterdir() if path.name.startswith(".")]

    def test_after_the_manifest_the_new_one_is_in_force(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = CheckpointStore(directory)
        commit(store, checkpoint(1, FIRST))

        def die(self: CheckpointStore, server_round: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(CheckpointStore, "_collect_garbage", die)
        with pytest.raises(KeyboardInterrupt):
            commit(store, checkpoint(2, SECOND))
        assert_same(latest(directory), checkpoint(2, {**FIRST, **SECOND}))


def test_a_manifest_is_plain_json_and_nothing_is_pickled(directory: Path) -> None:
    commit(CheckpointStore(directory), checkpoint(3, {0: control(1.0)}))
    manifest = json.loads((directory / "round-000003.json").read_text())
    assert manifest["round"] == 3
    assert manifest["config"]["optimizer.learning-rate"] == 0.1
    files = {path for path in directory.rglob("*") if path.is_file()}
    assert {path.suffix for path in files} == {".json", ".csv", ".safetensors"}


def test_what_is_not_its_own_is_left_alone(directory: Path) -> None:
    store = CheckpointStore(directory)
    commit(store, checkpoint(1))
    (directory / "notes").mkdir()
    (directory / "notes" / "a.txt").write_text("mine")
    strangers = (
        "notes.txt",
        "round-1.json.bak",
        "round-000001 (copy).json",
        ".keep",
        "x.safetensors",
        "rows.csv",
    )
    for name in strangers:
        (directory / name).write_text("mine")
    (directory / "round-000099.json").mkdir()
    (directory / "broken").symlink_to("nowhere")
    for server_round in range(2, 6):
        commit(store, checkpoint(server_round))
    assert_same(latest(directory), checkpoint(5))
    assert all((directory / name).read_text() == "mine" for name in strangers)
    assert (directory / "notes" / "a.txt").read_text() == "mine"
    assert (directory / "round-000099.json").is_dir()
    assert (directory / "broken").is_symlink()
