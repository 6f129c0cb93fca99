"""FedLoGe's partition and local test sets against the numbers of the authors' code."""

from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from datasets.client_data.class_groups import count_groups, cumulative_groups
from datasets.client_data.local_tests import draw_local_tests, keyed_draw, legacy_draw, nominal_test_counts
from datasets.long_tail import long_tail_counts
from datasets.partition_report import label_counts
from datasets.partitions import make_partition
from datasets.partitions.fed_lt import deal_classes, generator_after
from tests.datasets.fedloge_settings import SETTINGS, Setting

TOY = np.repeat([0, 1, 2], [6, 4, 3])


# Two that are known by what their clients are tested on, not by the clients' sizes.
FURTHER = {"K=100": (Setting(100, 0.5, 0.01, ()), 100), "K=40": (Setting(100, 0.5, 0.02, ()), 40)}


def long_tailed(setting: Setting) -> np.ndarray:
    counts = long_tail_counts(50_000 / setting.classes, setting.classes, setting.factor)
    return np.repeat(np.arange(setting.classes), counts)


def partition(targets: np.ndarray, clients: int, **parameters: float) -> list[np.ndarray]:
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_partition("fed-lt", targets, clients, np.random.default_rng(0), given)


def counts_of(name: str) -> np.ndarray:
    setting, clients = FURTHER[name] if name in FURTHER else (SETTINGS[name], 0)
    targets = long_tailed(setting)
    parts = partition(targets, clients or len(setting.client_sizes), alpha=setting.alpha)
    return label_counts(targets, parts, setting.classes)


def test_toy_partition() -> None:
    parts = partition(TOY, 3, legacy_seed=7)
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
    parts = partition(targets, len(setting.client_sizes), alpha=setting.alpha)
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
    counts = label_counts(TOY.repeat(400), partition(TOY.repeat(400), 4, alpha=1e7), 3)
    assert np.abs(counts / counts.sum(axis=0) - 0.25).max() < 0.05


def test_the_runs_seed_can_decide() -> None:
    first, second = (
        make_partition("fed-lt", TOY.repeat(9), 3, np.random.default_rng(seed), {"legacy-seed": -1})
        for seed in (0, 1)
    )
    assert not all(map(np.array_equal, first, second))


def test_an_empty_client_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"client \d gets no sample; choose another partition\.legacy-seed"):
        partition(TOY, 6, alpha=0.1)


def test_local_test_counts() -> None:
    counts = np.array([[8, 0, 3], [2, 5, 2]])
    assert nominal_test_counts(counts, 12).tolist() == [[4, 0, 1], [1, 3, 1]]
    assert nominal_test_counts(np.array([[29, 71]]), 100).tolist() == [[28, 71]]  # 28.999...
    a, b = nominal_test_counts(counts_of("a"), 10_000), nominal_test_counts(counts_of("b"), 10_000)
    assert a[0].tolist() == [51, 64, 0, 0, 9, 0, 16, 0, 19, 0]
    assert b[0].tolist() == [58, 66, 7, 0, 32, 4, 4, 0, 0, 0]
    assert a.sum(axis=0).tolist() == [3558, 2294, 1480, 954, 615, 393, 248, 152, 99, 57]
    assert b.sum(axis=0).tolist() == [4012, 2394, 1429, 848, 504, 295, 172, 95, 53, 27]


@pytest.mark.parametrize(
    ("name", "total", "group_sizes", "absent", "absent_in_training"),
    [
        ("a", 9850, [4, 3, 3], 2.82, 1.92),
        ("b", 9829, [3, 3, 4], 3.40, 2.22),
        ("c", 9828, [4, 3, 3], 1.50, 0.72),
        ("d", 9823, [3, 3, 4], 2.50, 1.48),
        ("e", 9261, [31, 31, 38], 52.0, 36.6),
        ("f", 9199, [27, 26, 47], 56.9, 42.1),
        ("g", 9142, [31, 30, 39], 42.9, 26.4),
        ("h", 9097, [27, 25, 48], 51.1, 34.5),
        ("readme", 8636, [25, 25, 50], 68.8, 53.3),
        ("K=100", 7432, [23, 22, 55], 82.1, 67.5),
        ("K=40", 8791, [30, 29, 41], 64.7, 49.0),
    ],
)
def test_published_test_sets_and_groups(
    name: str, total: int, group_sizes: list[int], absent: float, absent_in_training: float
) -> None:
    counts = counts_of(name)
    nominal = nominal_test_counts(counts, 10_000)
    assert nominal.sum() == total
    assert np.bincount(cumulative_groups(nominal.sum(axis=0))).tolist() == group_sizes
    digits = 0.006 if name in "abcd" else 0.051  # as many as are printed
    assert (nominal == 0).sum(axis=1).mean() == pytest.approx(absent, abs=digits)
    assert (counts == 0).sum(axis=1).mean() == pytest.approx(absent_in_training, abs=digits)
    assert (nominal <= counts * 10_000 / counts.sum()).all()
    assert (counts[nominal > 0] > 0).all()


def test_the_smallest_clients() -> None:
    assert min(counts_of(name).sum(axis=1).min() for name in "abcdefgh") == 66
    assert counts_of("K=100").sum(axis=1).min() == 57


def test_drawn_test_sets_have_the_counts_and_are_clipped() -> None:
    setting, counts = SETTINGS["f"], counts_of("f")
    test_targets = np.arange(10_000) % 100
    legacy = generator_after(long_tailed(setting), 20, np.random.default_rng(0), 0.5, 3407)
    tests = draw_local_tests(counts, test_targets, legacy_draw(legacy))
    drawn = label_counts(test_targets, tests.indices, 100)
    assert np.array_equal(drawn, np.minimum(tests.nominal, 100))
    # The one place of the main grid where a share is larger than its class.
    assert np.argwhere(tests.nominal > 100).tolist() == [[14, 7]]
    assert (counts[14, 7], tests.nominal[14, 7]) == (114, 105)


def test_test_sets_are_drawn_from_the_stream_of_the_partition() -> None:
    stream = np.random.RandomState(7)
    deal_classes(TOY, 3, 0.5, stream)
    counts = label_counts(TOY, partition(TOY, 3, legacy_seed=7), 3)
    test_targets = np.arange(300) % 3
    after = generator_after(TOY, 3, np.random.default_rng(0), 0.5, 7)
    tests = draw_local_tests(counts, test_targets, legacy_draw(after))
    expected = [
        sorted(
            index
            for label, count in enumerate(row)
            for index in stream.choice(np.flatnonzero(test_targets == label), min(count, 100), replace=False)
        )
        for row in tests.nominal
    ]
    assert [indices.tolist() for indices in tests.indices] == expected


def test_keyed_draws_do_not_depend_on_other_clients() -> None:
    counts = np.array([[8, 0, 3], [2, 5, 2]])
    targets = np.arange(60) % 3
    whole = draw_local_tests(counts, targets, keyed_draw([np.random.default_rng(i) for i in (0, 1)]))
    swapped = draw_local_tests(counts[::-1], targets, keyed_draw([np.random.default_rng(i) for i in (1, 0)]))
    assert whole.indices[1].tolist() == swapped.indices[0].tolist()


@pytest.mark.parametrize(
    ("counts", "groups"),
    [
        ([50, 30, 10, 6, 4], [0, 0, 1, 1, 2]),
        ([75, 20, 5], [0, 1, 2]),
        ([4, 0, 10, 10, 1, 0], [1, 2, 0, 0, 2, 2]),
        ([96, 2, 2], [0, 2, 2]),
        ([10, 10, 10, 10], [0, 0, 0, 1]),
        ([58, 66, 7, 0, 32, 4, 4, 0, 0, 0], [0, 0, 1, 2, 0, 2, 2, 2, 2, 2]),
        ([3558, 2294, 1480, 954, 615, 393, 248, 152, 99, 57], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ([4012, 2394, 1429, 848, 504, 295, 172, 95, 53, 27], [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]),
    ],
)
def test_cumulative_groups(counts: list[int], groups: list[int]) -> None:
    assert cumulative_groups(np.array(counts)).tolist() == groups
    assert cumulative_groups(7 * np.array(counts)).tolist() == groups


@pytest.mark.parametrize(("factor", "sizes"), [(0.01, [35, 35, 30]), (0.02, [41, 41, 18])])
def test_groups_by_count(factor: float, sizes: list[int]) -> None:
    assert np.bincount(count_groups(np.array(long_tail_counts(500, 100, factor)))).tolist() == sizes
    assert count_groups(np.array([101, 100, 20, 19])).tolist() == [0, 1, 1, 2]
