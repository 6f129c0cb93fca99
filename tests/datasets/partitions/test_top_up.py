"""Filling up clients with what is left."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from datasets.partitions._top_up import top_up


def test_top_up_moves_a_client_to_its_other_class() -> None:
    counts = np.zeros((2, 2), dtype=np.int64)
    # The first client takes class 0, the only one that the second owns, and has to give it back.
    top_up(counts, np.array([[True, True], [True, False]]), np.array([1, 1]))
    assert counts.tolist() == [[0, 1], [1, 0]]


@given(arrays(bool, (6, 4)), st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_top_up_serves_a_maximum_matching_in_its_last_round(owns: np.ndarray, leftover: list[int]) -> None:
    owns[:, 0] = True
    # One client owns nothing that is left, so that the first round is the last.
    owns = np.pad(owns, ((0, 1), (0, 1)))
    owns[-1, -1] = True
    counts = np.zeros(owns.shape, dtype=np.int64)
    top_up(counts, owns, np.array([*leftover, 0]))
    clients_by_samples = csr_array(np.repeat(owns, [*leftover, 0], axis=1))
    assert counts.sum() == (maximum_bipartite_matching(clients_by_samples) >= 0).sum()
    assert counts.sum(axis=1).max() <= 1
    assert (counts.sum(axis=0) <= [*leftover, 0]).all()
    assert not counts[~owns].any()
