"""Clients' own test samples against the numbers of the authors' code."""

import numpy as np
import pytest

from datasets.client_data.class_groups import cumulative_groups
from datasets.client_data.local_tests import draw_local_tests, keyed_draw, legacy_draw, nominal_test_counts
from datasets.partition_report import label_counts
from datasets.partitions.fed_lt import deal_classes, generator_after
from tests.datasets.fedloge_settings import SETTINGS, counts_of, deal_long_tailed, long_tailed

TOY = np.repeat([0, 1, 2], [6, 4, 3])


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
    counts = label_counts(TOY, deal_long_tailed(TOY, 3, legacy_seed=7), 3)
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
