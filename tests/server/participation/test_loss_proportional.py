"""Probabilities in proportion to losses."""

import numpy as np
import pytest

from tests.server.participation.schemes import participation, seen


def test_loss_proportional() -> None:
    scheme = participation("loss-proportional", count=3)
    scheme.observe(1, seen({0: 5.0, 1: 2.0}))
    # The third counts as 5: probabilities 5/12, 2/12, 5/12.
    counts = np.zeros(3)
    for server_round in range(1, 4001):
        counts[scheme.cohort(server_round, 0.1)] += 1
    assert counts / 4000 == pytest.approx([5 / 12, 2 / 12, 5 / 12], abs=0.04)
    fresh = participation("loss-proportional")
    assert len(set(fresh.cohort(1, 0.1))) == 10
    fresh.observe(1, seen(dict.fromkeys(range(100), 0.0)))
    assert len(set(fresh.cohort(1, 0.1))) == 10
