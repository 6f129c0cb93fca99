"""The values of ranges."""

from hypothesis import given
from hypothesis import strategies as st

from common.search.spaces import Range


def test_grids() -> None:
    assert Range(0.001, 1.0, log=True, points=4).grid() == (0.001, 0.01, 0.1, 1.0)
    assert Range(0.0, 1.0, points=5).grid() == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Range(1, 10, points=4, is_whole=True).grid() == (1, 4, 7, 10)
    assert Range(1, 64, log=True, points=4, is_whole=True).grid() == (1, 4, 16, 64)
    assert Range(0.1, 0.35, step=0.1).grid() == (0.1, 0.2, 0.3)
    assert Range(8, 33, step=8, is_whole=True).grid() == (8, 16, 24, 32)
    assert Range(1, 3, points=9, is_whole=True).grid() == (1, 2, 3)  # no value twice


def test_parts_of_a_range() -> None:
    assert Range(0.01, 100.0, log=True).at(0.5) == 1.0
    assert Range(1.0, 3.0).at(0.25) == 1.5
    whole = Range(1, 4, is_whole=True)
    assert [whole.at(part) for part in (0.0, 0.24, 0.26, 0.76, 0.999)] == [1, 1, 2, 4, 4]  # equally likely
    steps = Range(0, 1, step=0.5)
    assert [steps.at(part) for part in (0.0, 0.32, 0.34, 0.67, 0.99)] == [0.0, 0.0, 0.5, 1.0, 1.0]


@given(
    low=st.floats(1e-6, 1e3),
    ratio=st.floats(1.001, 1e6),
    part=st.floats(0, 1, exclude_max=True),
    log=st.booleans(),
)
def test_numbers_stay_within_their_range(low: float, ratio: float, part: float, log: bool) -> None:
    high = low * ratio
    value = Range(low, high, log=log).at(part)
    assert isinstance(value, float)
    assert low <= value <= high
    assert value in (low, high) or value == float(f"{value:.6g}")
