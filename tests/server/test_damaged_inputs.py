"""Files that keys name (partition, schedule, sizes), with any content: a value or one line."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UserError
from common.files import read_text
from datasets.partitions.hetero_fixed import partition
from models.sizes.population import read_sizes
from server.participation.schedule import read_schedule

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TABLE = "round,client_id\n1,0\n1,3\n2,1\n"
contents = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.text("0123456789,\n -.eround_client", max_size=40).map(lambda text: f"{TABLE}{text}".encode())
)


def npz(sizes: object, indices: object) -> bytes:
    content = io.BytesIO()
    np.savez(content, sizes=np.array(sizes), indices=np.array(indices))
    return content.getvalue()


def read(path: Path, reader: str) -> object:
    if reader == "schedule":
        return read_schedule(path)
    if reader == "sizes":
        return read_sizes(read_text(path, "model.size-file"), str(path))
    return partition(np.arange(4) % 2, 2, np.random.default_rng(0), file=str(path), min_size=1)


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ("schedule", "x.csv"),
        ("schedule", "x.json"),
        ("sizes", "x.csv"),
        ("sizes", "x.json"),
        ("partition", "x.json"),
        ("partition", "x.npz"),
    ],
)
@settings(max_examples=80)
@given(content=contents)
def test_any_content(
    tmp_path_factory: pytest.TempPathFactory, reader: str, name: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("inputs") / name
    path.write_bytes(content)
    try:
        read(path, reader)
    except UserError as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("sizes", "indices"),
    [
        ([2, 3], [0, 1, 2, 3]),
        ([-2, 6], [0, 1, 2, 3]),
        ([2.5, 1.5], [0, 1, 2, 3]),
        ([2, 2], [0, 1, 2, 9]),
        ([2, 2], [0, 1, 2, -1]),
        ([2, 2], [0, 1, 2, 2]),
        ([[2, 2]], [0, 1, 2, 3]),
        ([2, 2], [[0, 1], [2, 3]]),
        ([], []),
        (["a", "b"], [0, 1, 2, 3]),
        ([2, 2], [0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_partitions_that_are_none(tmp_path: Path, sizes: list[object], indices: list[object]) -> None:
    (tmp_path / "x.npz").write_bytes(npz(sizes, indices))
    with pytest.raises(UserError, match=r"partition\.file"):
        read(tmp_path / "x.npz", "partition")


def test_a_partition_that_is_one(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(npz([1, 3], [2, 0, 3, 1]))
    parts = read(tmp_path / "x.npz", "partition")
    assert [part.tolist() for part in parts] == [[2], [0, 1, 3]]  # type: ignore[attr-defined]
