import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import server.checkpoints.checkpoint
import server.checkpoints.client_files
from common.errors import UserError
from common.files import write_atomic
from common.records import Payload, Tensors
from common.seal import seal, unseal
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore


def checkpoint(server_round: int, clients: dict[int, Payload] | None = None) -> Checkpoint:
    return Checkpoint(
        server_round=server_round,
        arrays={"w": torch.full((2, 3), float(server_round)), "n": torch.tensor(server_round)},
        strategy=({"momentum": {"kind": "tensor", "key": "momentum"}}, {"momentum": torch.ones(1)}),
        progress={"seconds": 0.5 * server_round, "best": {}, "stopped": ""},
        config={"rounds": 9, "optimizer.learning-rate": 0.1},
        clients=clients or {},
    )


def commit(store: CheckpointStore, saved: Checkpoint) -> None:
    store.commit(saved, saved.clients.items())


def control(value: float) -> Payload:
    return {"control": {"w": torch.tensor([value])}, "head": {"layer.b": torch.tensor([[value, -value]])}}


def assert_same(actual: Checkpoint | None, expected: Checkpoint) -> None:
    assert actual is not None
    for name in ("server_round", "progress", "config"):
        assert getattr(actual, name) == getattr(expected, name)
    assert actual.strategy[0] == expected.strategy[0]
    same_section(actual.arrays, expected.arrays)
    same_section(actual.strategy[1], expected.strategy[1])
    assert set(actual.clients) == set(expected.clients)
    for client, sections in expected.clients.items():
        assert set(actual.clients[client]) == set(sections)
        for name, section in sections.items():
            same_section(actual.clients[client][name], section)


def same_section(actual: Tensors, expected: Tensors) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        assert actual[name].shape == value.shape
        assert torch.equal(actual[name], value)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def latest(directory: Path) -> Checkpoint | None:
    """What another process finds."""
    return CheckpointStore(directory).load_latest()


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


FIRST = {0: control(1.0), 1: control(2.0)}
SECOND = {1: control(3.0)}


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


class TestDamage:
    @pytest.fixture
    def two(self, directory: Path) -> Path:
        store = CheckpointStore(directory)
        commit(store, checkpoint(1, {0: control(1.0)}))
        commit(store, checkpoint(2, {0: control(2.0)}))
        return directory

    FILES = (
        "arrays-round-00000{}.safetensors",
        "strategy-round-00000{}.safetensors",
        "clients/000000/client-000000-round-00000{}.safetensors",
        "clients-round-00000{}.csv",
    )

    @pytest.mark.parametrize("file", FILES)
    @pytest.mark.parametrize("action", [damage, Path.unlink])
    def test_a_damaged_or_missing_file_falls_back(self, two: Path, file: str, action: Any) -> None:
        action(two / file.format(2))
        assert_same(latest(two), checkpoint(1, {0: control(1.0)}))

    @pytest.mark.parametrize("content", [b"", b"{", b"{}", b"\xff\xfe", b'{"round": 2}'])
    def test_a_damaged_manifest_falls_back_and_the_run_goes_on(self, two: Path, content: bytes) -> None:
        (two / "round-000002.json").write_bytes(content)
        resumed = CheckpointStore(two)
        assert_same(resumed.load_latest(), checkpoint(1, {0: control(1.0)}))
        # A different interval: the damaged manifest is not overwritten but newer than the next one.
        (two / "round-000002.json").rename(two / "round-000005.json")
        commit(resumed, checkpoint(2, {0: control(7.0)}))
        assert_same(latest(two), checkpoint(2, {0: control(7.0)}))
        commit(resumed, checkpoint(3))
        assert_same(latest(two), checkpoint(3, {0: control(7.0)}))
        assert not (two / "round-000005.json").exists()

    def test_all_damaged_is_an_error_that_names_them(self, two: Path) -> None:
        for server_round in (1, 2):
            damage(two / self.FILES[0].format(server_round))
        with pytest.raises(UserError) as raised:
            latest(two)
        message = str(raised.value)
        assert "\n" not in message
        assert "round-000001.json: arrays-round-000001.safetensors is damaged" in message
        assert "round-000002.json: arrays-round-000002.safetensors is damaged" in message
        assert str(two) in message


def test_a_manifest_is_plain_json_and_nothing_is_pickled(directory: Path) -> None:
    commit(CheckpointStore(directory), checkpoint(3, {0: control(1.0)}))
    manifest = json.loads((directory / "round-000003.json").read_text())
    assert manifest["round"] == 3
    assert manifest["config"]["optimizer.learning-rate"] == 0.1
    files = {path for path in directory.rglob("*") if path.is_file()}
    assert {path.suffix for path in files} == {".json", ".csv", ".safetensors"}


class TestManifest:
    @pytest.fixture
    def two(self, directory: Path) -> Path:
        store = CheckpointStore(directory)
        commit(store, checkpoint(1, {0: control(1.0)}))
        commit(store, checkpoint(4, {0: control(2.0)}))
        return directory

    def falls_back(self, directory: Path, reason: str) -> None:
        store = CheckpointStore(directory)
        assert_same(store.load_latest(), checkpoint(1, {0: control(1.0)}))
        (remark,) = store.passed_over
        assert re.match(rf"round-00000\d\.json: .*{reason}", remark), remark
        assert "\n" not in remark
        # The run goes on, and the next commit takes the damaged one away.
        commit(store, checkpoint(2))
        assert_same(latest(directory), checkpoint(2, {0: control(1.0)}))

    @pytest.mark.parametrize("content", ["[]", "null", "4", '"x"', "{}", '{"round": 4, "files": []}', "[[["])
    def test_json_of_another_shape(self, two: Path, content: str) -> None:
        (two / "round-000004.json").write_text(content)
        self.falls_back(two, "(hash|JSON)")

    @pytest.mark.parametrize("content", [[], {}, {"arrays": 3}, {"arrays": {"name": 4, "sha256": "x"}}, None])
    def test_another_shape_with_a_hash(self, two: Path, content: object) -> None:
        manifest = unseal((two / "round-000004.json").read_bytes())
        (two / "round-000004.json").write_bytes(seal({**manifest, "files": content}))
        self.falls_back(two, "")

    def test_another_round_with_a_hash_and_a_name_of_its_own(self, two: Path) -> None:
        manifest = unseal((two / "round-000004.json").read_bytes())
        (two / "round-000005.json").write_bytes(seal({**manifest, "round": 5}))
        (two / "round-000004.json").unlink()
        self.falls_back(two, "it is of round 5 and names arrays-round-000004.safetensors")

    @pytest.mark.parametrize(
        "name",
        [
            "client-000001-round-000004.safetensors",
            "client-000000-round-000005.safetensors",
            "../client-000000-round-000004.safetensors",
        ],
    )
    def test_a_file_of_another_client_round_or_folder(self, two: Path, name: str) -> None:
        (path,) = two.rglob("client-*-round-000004.safetensors")
        shutil.copy(path, two / name)
        manifest = unseal((two / "round-000004.json").read_bytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        manifest["clients"] = {"0": {"name": name, "sha256": digest}}
        (two / "round-000004.json").write_bytes(seal(manifest))
        self.falls_back(two, f"it is of round 4 and names {re.escape(name)} for client 0")

    @pytest.mark.parametrize("name", ["clients-round-000005.csv", "../clients-round-000004.csv", "x.csv"])
    def test_a_list_of_another_round_or_folder(self, two: Path, name: str) -> None:
        manifest = unseal((two / "round-000004.json").read_bytes())
        (two / manifest["clients"]["list"]).rename(two / name)
        manifest["clients"]["list"] = name
        (two / "round-000004.json").write_bytes(seal(manifest))
        self.falls_back(two, f"it is of round 4 and names {re.escape(name)}")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('"round": 4', '"round": 5'),
            ('"optimizer.learning-rate": 0.1', '"optimizer.learning-rate": 0.2'),
            ('"seconds": 2.0', '"seconds": 3.0'),
        ],
    )
    def test_a_changed_value(self, two: Path, old: str, new: str) -> None:
        path = two / "round-000004.json"
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        self.falls_back(two, "it is damaged: its content has another hash")

    def test_a_manifest_of_another_round(self, two: Path) -> None:
        (two / "round-000004.json").rename(two / "round-000005.json")
        self.falls_back(two, "it is of round 4")

    def test_a_manifest_without_its_hash(self, two: Path) -> None:
        path = two / "round-000004.json"
        manifest = json.loads(path.read_text())
        del manifest["sha256"]
        path.write_text(json.dumps(manifest))
        self.falls_back(two, "it has no hash of itself")

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
    @pytest.mark.parametrize("name", ["round-000004.json", "arrays-round-000004.safetensors"])
    def test_something_else_in_the_place_of_a_file(
        self, two: Path, name: str, make: Callable[[Path], None]
    ) -> None:
        (two / name).unlink()
        make(two / name)
        store = CheckpointStore(two)
        assert_same(store.load_latest(), checkpoint(1, {0: control(1.0)}))
        commit(store, checkpoint(2))
        assert_same(latest(two), checkpoint(2, {0: control(1.0)}))

    def test_the_caller_may_refuse_one(self, two: Path) -> None:
        def check(progress: Mapping[str, Any]) -> None:
            if progress["seconds"] > 1:
                raise ValueError("rows are missing")

        store = CheckpointStore(two)
        assert_same(store.load_latest(check), checkpoint(1, {0: control(1.0)}))
        assert store.passed_over == ["round-000004.json: rows are missing"]

    def test_the_configuration_alone(self, two: Path) -> None:
        assert CheckpointStore(two).latest_config() == {"rounds": 9, "optimizer.learning-rate": 0.1}
        (two / "round-000004.json").write_text("")
        assert CheckpointStore(two).latest_config() == {"rounds": 9, "optimizer.learning-rate": 0.1}
        (two / "round-000001.json").write_text("")
        assert CheckpointStore(two).latest_config() is None
        assert CheckpointStore(two / "nowhere").latest_config() is None


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole") / "checkpoints"
    store = CheckpointStore(directory)
    commit(store, checkpoint(1, {0: control(1.0)}))
    commit(store, checkpoint(4, {0: control(2.0)}))
    return directory


@settings(max_examples=150)
@given(data=st.data())
def test_damage_of_the_newest_is_never_used(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("damaged") / "checkpoints"
    shutil.copytree(whole, directory)
    path = directory / data.draw(
        st.sampled_from(sorted(str(p.relative_to(whole)) for p in whole.rglob("*round-000004*")))
    )
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(content)
    found = CheckpointStore(directory).load_latest()
    assert found is not None
    # Either it is noticed, or (blanks of the JSON) nothing that counts has changed.
    expected = (
        checkpoint(1, {0: control(1.0)}) if found.server_round == 1 else checkpoint(4, {0: control(2.0)})
    )
    assert_same(found, expected)


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
        monkeypatch.setattr(server.checkpoints.client_files, "_MOST_OLD_LINES", 2)
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
