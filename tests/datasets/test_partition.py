import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.partition import Partition

owners_of_samples = st.lists(st.integers(0, 4), max_size=40).map(
    lambda owners: np.array(owners, dtype=np.int64)
)


@given(owners_of_samples)
def test_owners_and_parts_say_the_same(owners: np.ndarray) -> None:
    partition = Partition.of_owners(owners, 5)
    parts = [np.flatnonzero(owners == client).tolist() for client in range(5)]
    assert [part.tolist() for part in partition] == parts
    assert partition.sizes.tolist() == list(map(len, parts))
    assert owners[partition.indices].tolist() == partition.owners.tolist()
    again = Partition.of(partition[k][::-1] for k in range(5))
    assert [part.tolist() for part in again.sorted()] == parts


def test_a_client_is_a_view_and_no_copy() -> None:
    partition = Partition.of_sizes(np.arange(5), [2, 0, 3])
    assert len(partition) == 3
    assert partition[-1].tolist() == [2, 3, 4]
    assert [part.tolist() for part in partition[1:]] == [[], [2, 3, 4]]
    assert partition[2].base is partition.indices
    assert Partition.of(partition) is partition
    with pytest.raises(IndexError):
        partition[3]


def test_nobody_has_nothing() -> None:
    empty = Partition.of([np.empty(0, np.int64)] * 2)
    assert [part.tolist() for part in empty.sorted()] == [[], []]
