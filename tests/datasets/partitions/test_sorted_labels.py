"""Clients by sorted labels."""

import functools

import numpy as np
import pytest

from common.errors import UserError
from datasets.partitions import make_partition
from tests.datasets.partitions.deals import class_counts


def test_sorted_labels_of_ten_equal_classes() -> None:
    targets = np.arange(50_000) % 10
    deal = functools.partial(make_partition, "sorted-labels", targets, 8, np.random.default_rng(0))
    all_sorted = class_counts(deal({"heterogeneity": 1.0}), targets)
    assert all_sorted[0] == {0: 5000, 1: 1250}
    half = class_counts(deal({"heterogeneity": 0.5}), targets)
    assert half[0][0] == pytest.approx(2500 + 312.5, abs=80)
    assert half[0][1] == pytest.approx(625 + 312.5, abs=80)
    assert half[1][2] == pytest.approx(1250 + 312.5, abs=80)
    assert [sum(client.values()) for client in half] == [6250] * 8
    with pytest.raises(UserError, match="heterogeneity = 0"):
        make_partition("sorted-labels", targets, 1, np.random.default_rng(0), {})
