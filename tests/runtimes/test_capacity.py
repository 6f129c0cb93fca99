"""How many Ray workers fit, and the part of a GPU that a measured peak asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.capacity import RESERVE, Machine, part_of_gpu, workers_that_fit

GB = 10**9


@pytest.mark.parametrize(
    ("machines", "cpus", "gpus", "count", "line"),
    [
        ([Machine(4)], 1, 0, 4, "4 CPUs / 1 = 4"),
        ([Machine(3)], 0.3, 0, 10, "3 CPUs / 0.3 = 10"),
        # A worker lies on one machine: six CPUs on two of them are not three workers of two.
        ([Machine(3), Machine(3)], 2, 0, 2, "2 machines with 3 CPUs / 2 = 1"),
        ([Machine(16, 2)], 1, 0.25, 8, "16 CPUs / 1 = 16, 2 GPUs / 0.25 = 8"),
        # What is left of one GPU does not add to that of another.
        ([Machine(16, 2)], 1, 0.4, 4, "16 CPUs / 1 = 16, 2 GPUs / 0.4 = 4"),
        ([Machine(16, 5)], 1, 2, 2, "16 CPUs / 1 = 16, 5 GPUs / 2 = 2"),
        ([Machine(8, 0), Machine(2, 1)], 1, 0.1, 2, "8 CPUs / 1 = 8, 0 GPUs / 0.1 = 0; 2 CPUs / 1 = 2"),
        ([Machine(1)], 2, 0, 0, "1 CPUs / 2 = 0"),
    ],
)
def test_workers_that_fit(machines: list[Machine], cpus: float, gpus: float, count: int, line: str) -> None:
    fitting, reckoning = workers_that_fit(machines, cpus, gpus)
    assert fitting == count
    assert reckoning.startswith(line)


@pytest.mark.parametrize(
    ("peak", "gpus", "most", "part"),
    [
        (4 * GB, 1, 64, 0.3333),  # 16 / 5 = 3
        (3.2 * GB, 1, 64, 0.25),  # 16 / 4 = 4, exactly
        (15 * GB, 1, 64, 1.0),  # one client ran, so that one fits
        (1 * GB, 2, 4, 0.5),  # twelve would fit on each, and there are CPUs for two
        (1 * GB, 4, 1, 1.0),
        (GB // 10, 1, 115, 0.0087),  # 0.0086 would admit 116
    ],
)
def test_part_of_gpu(peak: float, gpus: int, most: int, part: float) -> None:
    found, reckoning = part_of_gpu(int(peak), 16 * GB, gpus, most)
    assert found == part
    assert f"resources.gpus-per-client = {part:g}: a client took {peak / GB:.2f} GB" in reckoning
    assert f"of 25% {peak / GB * 1.25:.2f} GB, of 16.00 GB" in reckoning


@given(
    peak=st.integers(10**6, 8 * 10**10),
    total=st.integers(10**9, 8 * 10**10),
    gpus=st.integers(1, 64),
    most=st.integers(1, 4096),
)
def test_measured_parts_fit_together(peak: int, total: int, gpus: int, most: int) -> None:
    part, _ = part_of_gpu(peak, total, gpus, most)
    on_each, _ = workers_that_fit([Machine(10_000, 1)], 1, part)
    assert 0 < part <= 1
    assert on_each <= -(-most // gpus)
    assert on_each * part <= 1 + 1e-12
    assert on_each == 1 or on_each * peak * (1 + RESERVE) <= total
