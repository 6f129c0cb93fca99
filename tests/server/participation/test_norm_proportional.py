"""Probabilities in proportion to the length of changes."""

import json

import numpy as np
import pytest

from tests.server.participation.schemes import changes, participation


def test_norm_proportional_with_its_correction() -> None:
    scheme = participation("norm-proportional", count=3, correction="inverse-inclusion")
    scheme.observe(1, changes({0: [3.0, 4.0], 1: [0.0, 2.0]}))
    # The third counts as 5: probabilities 5/12, 2/12, 5/12, which are those of inclusion for one client.
    (client,) = scheme.cohort(9, 0.1)
    weights = scheme.weights([0, 1, 2])
    assert list(weights.values()) == pytest.approx([12 / 5, 6, 12 / 5], rel=0.01)
    counts, plain = np.zeros(3), participation("norm-proportional", count=3)
    plain.observe(1, changes({0: [3.0, 4.0], 1: [0.0, 2.0]}))
    for server_round in range(1, 1001):
        counts[plain.cohort(server_round, 0.1)] += 1
    assert counts / 1000 == pytest.approx([5 / 12, 2 / 12, 5 / 12], abs=0.05)
    assert plain.cohort(9, 0.1) == [client]
    resumed = participation("norm-proportional", count=3, correction="inverse-inclusion")
    resumed.restore(json.loads(json.dumps(scheme.state())))
    assert resumed.cohort(9, 0.1) == scheme.cohort(9, 0.1)
    assert resumed.weights([0]) == scheme.weights([0])
