"""FedLoGe's partition against the numbers of the authors' code."""

from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from datasets.partition_report import label_counts
from datasets.partitions import make_partition
from datasets.partitions.fed_lt import deal_classes
from tests.datasets.fedloge_settings import SETTINGS, counts_of, deal_long_tailed, long_tailed

TOY = np.repeat([0, 1, 2], [6, 4, 3])


def test_toy_partition() -> None:
    parts = deal_long_tailed(TOY, 3, legacy_seed=7)
    assert [part.tolist() for part in parts] == [[4, 7], [0, 1, 2, 3, 5, 10, 11, 12], [6, 8, 9]]


def test_the_shares_of_the_toy_partition() -> None:
    class Recording(np.random.RandomState):
        def dirichlet(self, *arguments: Any, **keywords: Any) -> Any:
            drawn.append(super().dirichlet(*arguments, **keywords))
            return drawn[-1]

    drawn: list[np.ndarray] = []
    parts = deal_classes(TOY, 3, 0.5, Recording(7))
    assert [part.tolist() for part in parts] == [[4, 7], [0, 1, 2, 3, 5, 10, 11, 12], [6, 8, 9]]
    expected = [
        (0.209907, 0.786441, 0.003652),
        (0.292093, 0.017062, 0.690845),
        (0.156424, 0.775908, 0.067668),
    ]
    np.testing.assert_allclose(drawn, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SETTINGS)
def test_published_client_sizes(name: str) -> None:
    targets, setting = long_tailed(SETTINGS[name]), SETTINGS[name]
    parts = deal_long_tailed(targets, len(setting.client_sizes), alpha=setting.alpha)
    assert tuple(map(len, parts)) == setting.client_sizes
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(targets)))


def test_published_label_counts() -> None:
    a, b = counts_of("a"), counts_of("b")
    assert a[0].tolist() == [72, 90, 1, 0, 13, 0, 23, 0, 27, 0]
    assert a[1].tolist() == [118, 3, 12, 6, 42, 10, 0, 4, 0, 5]
    assert b[0].tolist() == [72, 83, 9, 1, 40, 5, 5, 0, 0, 0]
    assert b[2].tolist() == [32, 5, 132, 20, 4, 13, 0, 0, 0, 1]
    assert b[39].tolist() == [37, 0, 51, 30, 34, 9, 11, 3, 1, 0]


def test_large_alpha_gives_equal_shares() -> None:
    counts = label_counts(TOY.repeat(400), deal_long_tailed(TOY.repeat(400), 4, alpha=1e7), 3)
    assert np.abs(counts / counts.sum(axis=0) - 0.25).max() < 0.05


def test_the_runs_seed_can_decide() -> None:
    first, second = (
        make_partition("fed-lt", TOY.repeat(9), 3, np.random.default_rng(seed), {"legacy-seed": -1})
        for seed in (0, 1)
    )
    assert not all(map(np.array_equal, first, second))


def test_an_empty_client_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"client \d gets no sample; choose another partition\.legacy-seed"):
        deal_long_tailed(TOY, 6, alpha=0.1)


def test_the_smallest_clients() -> None:
    assert min(counts_of(name).sum(axis=1).min() for name in "abcdefgh") == 66
    assert counts_of("K=100").sum(axis=1).min() == 57
