"""LEAF's files: which users they hold, and one line for whatever is wrong with them."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from datasets.leaf.files import leaf_root, read_users
from datasets.leaf.owners import Owners
from tests.datasets.leaf.written import content, write

NAMES = st.text(min_size=1, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=4), min_size=1), st.integers(1, 3))
def test_every_sample_of_every_user_is_read(users: dict[str, list[int]], files: int) -> None:
    samples = {name: ([[value] for value in y], y) for name, y in users.items()}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "train", samples, files)
        read = {user.name: (user.x, user.y) for user in read_users(Path(folder) / "train")}
    assert read == {name: (x, y) for name, (x, y) in samples.items() if y}


@settings(max_examples=40)
@given(JSON, st.sampled_from(["", "users", "num_samples", "user_data", "ann", "x", "y"]))
def test_whatever_stands_in_a_place_is_read_or_refused_in_one_line(value: Any, place: str) -> None:
    whole: Any = content({"ann": ([[0.5]], [1]), "bob": ([[0.25]], [0])})
    owner = {"ann": whole["user_data"], "x": whole["user_data"]["bob"], "y": whole["user_data"]["bob"]}
    if place:
        owner.get(place, whole)[place] = value
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train").mkdir()
        (Path(folder) / "train" / "a.json").write_text(json.dumps(whole if place else value))
        try:
            users = list(read_users(Path(folder) / "train"))
        except UserError as error:
            users, message = [], str(error)
        else:
            message = "a.json"
    assert "a.json" in message
    assert all(len(user.x) == len(user.y) > 0 for user in users)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": [2]}, "a.json, user 'ann': num_samples is 2, and there are 1 of 'x' and 1 of 'y'"),
        ({"users": ["eve"]}, "a.json, user 'eve': it is not in user_data"),
        ({"users": ["ann", "eve"]}, "a.json: 2 users and 1 entries of num_samples"),
        ({"user_data": {"ann": {"x": [1]}}}, "a.json, user 'ann': 'y' must be a list"),
        ({"user_data": {"ann": [1]}}, "a.json, user 'ann': its user_data must be an object"),
        ({"users": None}, "a.json is not LEAF's: 'users' must be a list"),
    ],
)
def test_a_message_names_the_file_and_the_user(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.json").write_text(json.dumps(content({"ann": ([1], [1])}) | change))
    with pytest.raises(UserError) as caught:
        list(read_users(tmp_path / "train"))
    assert message in str(caught.value)


def test_a_user_of_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path, "train", {"ann": ([1], [1])})
        (tmp_path / "train" / "all_data_0_keep_0_train_9.json").rename(tmp_path / "train" / f"{name}.json")
    with pytest.raises(UserError, match=r"b\.json, user 'ann': .*a\.json also has that user"):
        list(read_users(tmp_path / "train"))


def test_the_folder_is_found_where_leaf_has_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        leaf_root(tmp_path, "femnist", "femnist")
    assert f"expected {tmp_path}/train/*.json" in str(caught.value)
    assert "https://github.com/TalwalkarLab/leaf" in str(caught.value)
    assert f"{tmp_path / 'train'} is missing" in str(caught.value)
    folder = tmp_path / "data" / "femnist" / "data"
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    assert leaf_root(folder, "", "femnist") == folder
    assert leaf_root(folder.parent, "", "femnist") == folder
    assert leaf_root(tmp_path, "", "femnist") == folder


def test_users_are_numbered_by_their_samples() -> None:
    owners = Owners.of({"b": 1, "a": 1, "c": 3}, {"c": 2, "b": 1}, "x")
    assert owners.names == ("c", "a", "b")
    assert owners.train.tolist() == [2, 1, 0, 0, 0]
    assert owners.test is not None
    assert owners.test.tolist() == [0, 0, 2]
    others = Owners.of({"a": 1}, {"z": 2}, "x")  # LEAF's split by user
    assert others.test is None
    assert others.remarks
    with pytest.raises(UserError, match="user 'z' has no training sample, and others have"):
        Owners.of({"a": 1}, {"a": 1, "z": 2}, "x")
