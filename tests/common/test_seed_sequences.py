import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.seed_sequences import first_states

WORDS = st.integers(0, 2**32 - 1)


@given(st.lists(st.integers(0, 2**80), max_size=6), st.lists(WORDS, min_size=1, max_size=5))
def test_they_are_numpys(entropy: list[int], last: list[int]) -> None:
    """Few entries, which are filled up with zeros, and more than the pool has, of several words each."""
    expected = [np.random.SeedSequence([*entropy, key]).generate_state(1, np.uint64)[0] for key in last]
    found = first_states(entropy, last)
    assert found.dtype == np.uint64
    assert found.tolist() == expected
