import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.client_tables import MAX_ROWS, evenly_spaced, read_counts, read_table, write_counts, write_table
from common.errors import UserError


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_few_clients_all_have_a_row(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    sizes, counts = np.array([3, 1]), np.array([[1, 0, 2], [1, 0, 0]])
    write_counts(path, sizes, counts, ("ant", "bee, wasp", "cat"))
    assert rows(path) == [
        ["client_id", "num_examples", "ant", "bee, wasp", "cat"],
        ["0", "3", "1", "0", "2"],
        ["1", "1", "1", "0", "0"],
    ]
    assert read_counts(path, 3) is None
    assert not path.with_suffix(".npz").exists()


def test_samples_may_have_several_labels(tmp_path: Path) -> None:
    write_counts(tmp_path / "labels.csv", np.array([2]), np.array([[5, 1]]), ("a", "b"))
    assert rows(tmp_path / "labels.csv")[1] == ["0", "2", "5", "1"]


def test_of_many_clients_the_table_shows_some_and_the_archive_has_all(tmp_path: Path) -> None:
    count = MAX_ROWS + 7
    counts = np.random.default_rng(0).integers(0, 3, (count, 4))
    counts[5] = 0
    write_counts(tmp_path / "labels.csv", counts.sum(axis=1), counts, "abcd")
    _, *shown = rows(tmp_path / "labels.csv")
    ids = [int(row[0]) for row in shown]
    assert len(ids) == len(set(ids)) == MAX_ROWS
    assert (ids[0], ids[-1]) == (0, count - 1)
    assert all(list(map(int, row[2:])) == counts[k].tolist() for k, row in zip(ids, shown, strict=True))
    assert read_counts(tmp_path / "labels.csv", 4).tolist() == counts.tolist()  # type: ignore[union-attr]


def test_columns_come_back_to_the_bit(tmp_path: Path) -> None:
    path, values = tmp_path / "participation.csv", np.random.default_rng(1).random(MAX_ROWS + 1)
    write_table(path, {"probability": values})
    read = read_table(path, ["probability"])
    assert read is not None
    assert (read["probability"] == values).all()
    assert len(rows(path)) == 1 + MAX_ROWS
    write_table(path, {"probability": values[:2]})  # a new run with fewer clients in the same directory
    assert read_table(path, ["probability"]) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_a_damaged_archive_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.npz").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read") as caught:
        read_counts(tmp_path / "labels.csv", 2)
    assert "\n" not in str(caught.value)


def test_counts_of_a_class_that_does_not_exist_are_damaged(tmp_path: Path) -> None:
    np.savez(tmp_path / "labels.npz", offsets=np.array([0, 1]), classes=np.array([5]), counts=np.array([1]))
    with pytest.raises(UserError, match="is damaged"):
        read_counts(tmp_path / "labels.csv", 2)


@given(st.integers(1, 2500))
def test_evenly_spaced_positions_include_both_ends(count: int) -> None:
    chosen = evenly_spaced(count, 500)
    assert len(chosen) == min(count, 500)
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    assert count == 1 or np.ptp(np.diff(chosen)) <= 1
    assert evenly_spaced(11, 3).tolist() == [0, 5, 10]
