"""The partitions of InCo Aggregation against the numbers that the authors' code gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from datasets.partition_report import write_partition
from datasets.partitions import make_partition
from datasets.partitions._niid_bench import retried_dirichlet

SIXTY = np.repeat(np.arange(10), 60)


def partition(
    name: str, targets: np.ndarray, num_clients: int, seed: int = 0, **parameters: Any
) -> list[np.ndarray]:
    given = {key.replace("_", "-"): value for key, value in parameters.items()}
    return make_partition(name, targets, num_clients, np.random.default_rng(seed), given)


def sizes(parts: list[np.ndarray]) -> list[int]:
    return [len(part) for part in parts]


def test_o17_the_cap_on_full_clients() -> None:
    class Given(np.random.RandomState):
        shares = iter([(0.5, 0.25, 0.25), (0.8, 0.1, 0.1), (0.2, 0.35, 0.45)])

        def shuffle(self, x: Any) -> None:
            pass

        def dirichlet(self, alpha: Any, size: Any = None) -> Any:
            return np.array(next(self.shares))

    parts = retried_dirichlet(np.repeat([0, 1, 2], 8), 3, 0.5, Given(0), 1, masked=True)
    assert [part.tolist() for part in parts] == [
        [0, 1, 2, 3, 8, 9, 10, 11, 12, 13],
        [4, 5, 14, 16, 17, 18],
        [6, 7, 15, 19, 20, 21, 22, 23],
    ]


@pytest.mark.parametrize("name", ["hetero", "hetero-fixed"])
def test_o18_seeded_numbers(name: str) -> None:
    first = partition(name, SIXTY, 6, legacy_seed=0)
    assert sizes(first) == [116, 104, 104, 73, 110, 93]
    assert {314, 232, 374, 377, 362} <= set(first[0].tolist())
    assert {94, 305, 590, 511, 332} <= set(first[1].tolist())
    assert np.bincount(SIXTY[first[0]], minlength=10).tolist() == [2, 20, 2, 1, 17, 11, 32, 0, 6, 25]
    assert sizes(partition(name, SIXTY, 6, legacy_seed=1)) == [141, 84, 99, 97, 72, 107]


def test_o18_homo() -> None:
    parts = partition("homo", np.zeros(10, dtype=np.int64), 3, legacy_seed=0)
    assert [part.tolist() for part in parts] == [sorted([2, 8, 4, 9]), sorted([1, 6, 7]), sorted([3, 0, 5])]


@pytest.mark.parametrize("name", ["homo", "hetero"])
def test_m28_all_samples_once_and_sizes(name: str) -> None:
    for seed in range(5):
        parts = partition(name, SIXTY, 7, seed)
        assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(600))
        if name == "homo":
            assert max(sizes(parts)) - min(sizes(parts)) <= 1
        else:
            assert min(sizes(parts)) >= 10


def test_m29_the_fixed_one_does_not_depend_on_the_run() -> None:
    first, second = (partition("hetero-fixed", SIXTY, 6, seed) for seed in (1, 2))
    assert all(map(np.array_equal, first, second))
    assert all(map(np.array_equal, first, partition("hetero", SIXTY, 6, 3, legacy_seed=0)))


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_stored_partition_comes_back(kind: str, tmp_path: Path) -> None:
    parts = partition("hetero", SIXTY, 6, 5, alpha=1.0)
    path = tmp_path / f"partition.{kind}"
    if kind == "npz":
        write_partition(path, parts)
    else:
        path.write_text(json.dumps([part.tolist()[::-1] for part in parts]))
    assert all(map(np.array_equal, partition("hetero-fixed", SIXTY, 6, file=str(path)), parts))


def test_indices_of_a_smaller_set_can_be_used_on_purpose(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps([list(range(30)), list(range(30, 60))]))
    targets = np.zeros(70, dtype=np.int64)
    with pytest.raises(UserError, match=r"leaves out 10 samples \(partition\.all-samples = false"):
        partition("hetero-fixed", targets, 2, file=str(path))
    assert sizes(partition("hetero-fixed", targets, 2, file=str(path), all_samples=False)) == [30, 30]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([list(range(20)), list(range(20, 40)), []], "it has 3 clients, and clients.count is 2"),
        ([list(range(20)), list(range(19, 39))], "a sample is in it twice"),
        ([list(range(20)), list(range(21, 41))], "do not go from 0 to 39"),
        ([list(range(35)), list(range(35, 40))], "smallest client has 5 samples"),
        ([[0.5], [1]], "a list of whole numbers"),
        ({"a": 1}, "no JSON list of lists"),
        (3, "no JSON list of lists"),
    ],
)
def test_files_that_do_not_fit_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        partition("hetero-fixed", np.zeros(40, dtype=np.int64), 2, file=str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"partition\.file: there is no file 'nowhere\.npz'"):
        partition("hetero-fixed", SIXTY, 6, file="nowhere.npz")
