"""One group of the clients of a partition."""

from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from tests.datasets.partitions.deals import SIXTY, deal


@pytest.mark.parametrize("of", ["dirichlet", "hetero", "hetero-fixed", "iid"])
def test_the_groups_are_the_clients_of_the_whole_partition(of: str) -> None:
    whole = deal(of, SIXTY, 6, 3)
    for group in range(3):
        parts = deal("group", SIXTY, 2, 3, of=of, groups=3, group=group)
        assert len(parts) == 2
        for found, expected in zip(parts, whole[2 * group : 2 * group + 2], strict=True):
            assert np.array_equal(found, expected)


def test_alpha_is_that_of_the_whole_partition() -> None:
    whole = deal("dirichlet", SIXTY, 4, 0, alpha=0.1)
    assert np.array_equal(deal("group", SIXTY, 2, 0, groups=2, group=1, alpha=0.1)[0], whole[2])


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"groups": 3, "group": 3}, "must be below partition.groups = 3"),
        ({"groups": 301}, "are more clients than the 600 training samples"),
        ({"of": "iid", "alpha": 0.1}, "partition.alpha = 0.1 would have no effect"),
    ],
)
def test_groups_that_there_are_not(parameters: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        deal("group", SIXTY, 2, 0, **parameters)
