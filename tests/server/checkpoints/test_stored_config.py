import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from common.config_values import parse_toml, to_toml
from common.errors import UserError
from server.checkpoints.checkpoint import CheckpointStore
from server.checkpoints.stored_config import find_stored_config, stored_config
from tests.common.configs import make_config
from tests.conftest import Runner


@pytest.fixture
def run(run_small: Runner) -> Path:
    return run_small(rounds=2)


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_text("")


def cut_within_a_line(path: Path) -> None:
    os.truncate(path, 500)


def cut_after_a_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:10]))


def other_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage", [remove, empty, cut_within_a_line, cut_after_a_line, other_text, folder, pipe]
)
def test_the_checkpoint_answers_for_a_damaged_file(run: Path, damage: Callable[[Path], None]) -> None:
    whole = find_stored_config(run)
    assert whole is not None
    assert whole.remark == ""
    damage(run / "config.toml")
    found = find_stored_config(run)
    assert found is not None
    assert stored_config(found.values) == stored_config(whole.values)
    assert "config.toml" in found.remark
    assert found.remark.endswith("the configuration is that of the last checkpoint")
    assert "\n" not in found.remark


def test_a_whole_file_may_be_newer_than_the_checkpoint(run: Path) -> None:
    path = run / "config.toml"
    path.write_text(re.sub("^rounds = 2$", "rounds = 9", path.read_text(), flags=re.MULTILINE))
    found = find_stored_config(run)
    assert found is not None
    assert found.values["rounds"] == 9
    assert found.remark == ""


def test_without_checkpoints_a_damaged_file_is_an_error_and_a_missing_one_no_run(tmp_path: Path) -> None:
    assert find_stored_config(tmp_path) is None
    (tmp_path / "config.toml").write_text("rounds = ")
    with pytest.raises(UserError, match=r"config\.toml"):
        find_stored_config(tmp_path)


def test_without_checkpoints_no_part_of_the_file_is_taken_for_the_whole(tmp_path: Path) -> None:
    text, path = to_toml(make_config({"rounds": 7}).flat()), tmp_path / "config.toml"
    for end in [*range(0, len(text), 97), *(place + 1 for place in range(len(text)) if text[place] == "\n")]:
        path.write_text(text[:end])
        if end < len(text):
            with pytest.raises(UserError, match=r"config\.toml"):
                find_stored_config(tmp_path)
    found = find_stored_config(tmp_path)
    assert found is not None
    assert found.values["rounds"] == 7


def test_a_key_that_was_taken_without_effect_is_not_one_that_the_file_lacks(run_small: Runner) -> None:
    run = run_small(rounds=1, method__name="local-only")
    path = run / "config.toml"
    values = parse_toml(path.read_text(), "")
    old = {**values, "method.weighting": "examples"}
    assert stored_config(old) == stored_config(values)
    store = CheckpointStore(run / "checkpoints")
    assert store.latest_config() == values
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CheckpointStore, "latest_config", lambda _: old)
        path.write_text(to_toml({**values, "rounds": 9}))
        found = find_stored_config(run)
    assert found is not None
    assert (found.values["rounds"], found.remark) == (9, "")


def test_a_run_resumes_without_a_key_that_is_refused_since_it_began(
    run_small: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = {"method__name": "local-only"}
    with monkeypatch.context() as earlier:
        for module in ("clients._configuration", "server.preparation"):
            earlier.setattr(f"{module}.check_without_model", lambda config: None)
        run_small("run", **alone, rounds=2, compression__name="sign", analysis__sharpness_images=8)
    path = run_small("run", **alone, rounds=4, run__resume=True)
    expected = run_small("whole", **alone, rounds=4)
    assert (path / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    config = parse_toml((path / "config.toml").read_text(), "")
    assert (config["compression.name"], config.get("analysis.sharpness-images", 0)) == ("none", 0)
