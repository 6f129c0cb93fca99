"""Clients that the data bring along."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from datasets.partitions import make_partition
from tests.datasets.partitions.deals import assert_well_formed, partition, seeds, sizes


@given(st.lists(st.integers(0, 4), min_size=5, max_size=60), seeds)
def test_natural_gives_every_client_its_own(drawn: list[int], seed: int) -> None:
    clients = np.array([*range(5), *drawn])
    parts = make_partition(
        "natural", np.zeros(len(clients), dtype=np.int64), 5, np.random.default_rng(seed), {}, clients
    )
    assert_well_formed(parts, len(clients), 5)
    assert sum(sizes(parts)) == len(clients)
    for client, indices in enumerate(parts):
        assert (clients[indices] == client).all()


def test_natural_without_natural_clients_says_what_to_do() -> None:
    with pytest.raises(UserError, match=r"such as dataset 'shakespeare'.*a column that dataset\.client"):
        partition("natural", np.arange(4), 2)
    with pytest.raises(UserError, match=r"clients.count is 3, but the data have 2"):
        make_partition("natural", np.zeros(4), 3, np.random.default_rng(0), {}, np.array([0, 0, 1, 1]))
