"""HeteroMoon and HeteroAvg."""

from tests.methods.sized import check_it_is_heteroavg


def test_m25_without_its_term_it_is_heteroavg() -> None:
    check_it_is_heteroavg("heteromoon", mu=0.0)
