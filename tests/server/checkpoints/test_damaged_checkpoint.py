"""Checkpoints with damaged, exchanged or missing files: the one before is used."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.seal import seal, unseal
from server.checkpoints.checkpoint import CheckpointStore
from tests.server.checkpoints.examples import assert_same, checkpoint, commit, control, damage, latest


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
