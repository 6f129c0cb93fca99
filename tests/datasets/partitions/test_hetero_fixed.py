"""A partition that is the same in every run, seeded or from a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import UserError
from datasets.partition_report import write_partition
from tests.datasets.partitions.deals import SIXTY, check_seeded_numbers, deal, sizes


def test_m29_the_fixed_one_does_not_depend_on_the_run() -> None:
    first, second = (deal("hetero-fixed", SIXTY, 6, seed) for seed in (1, 2))
    assert all(map(np.array_equal, first, second))
    assert all(map(np.array_equal, first, deal("hetero", SIXTY, 6, 3, legacy_seed=0)))


@pytest.mark.parametrize("kind", ["npz", "json"])
def test_a_stored_partition_comes_back(kind: str, tmp_path: Path) -> None:
    parts = deal("hetero", SIXTY, 6, 5, alpha=1.0)
    path = tmp_path / f"partition.{kind}"
    if kind == "npz":
        write_partition(path, parts)
    else:
        path.write_text(json.dumps([part.tolist()[::-1] for part in parts]))
    assert all(map(np.array_equal, deal("hetero-fixed", SIXTY, 6, file=str(path)), parts))


def test_indices_of_a_smaller_set_can_be_used_on_purpose(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps([list(range(30)), list(range(30, 60))]))
    targets = np.zeros(70, dtype=np.int64)
    with pytest.raises(UserError, match=r"leaves out 10 samples \(partition\.all-samples = false"):
        deal("hetero-fixed", targets, 2, file=str(path))
    assert sizes(deal("hetero-fixed", targets, 2, file=str(path), all_samples=False)) == [30, 30]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([list(range(20)), list(range(20, 40)), []], "it has 3 clients, and clients.count is 2"),
        ([list(range(20)), list(range(19, 39))], "a sample is in it twice"),
        ([list(range(20)), list(range(21, 41))], "do not run from 0 to 39"),
        ([list(range(35)), list(range(35, 40))], "smallest client has 5 samples"),
        ([[0.5], [1]], "a list of whole numbers"),
        ({"a": 1}, "nor a JSON list of lists"),
        (3, "nor a JSON list of lists"),
    ],
)
def test_files_that_do_not_fit_are_refused(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        deal("hetero-fixed", np.zeros(40, dtype=np.int64), 2, file=str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"partition\.file: there is no file 'nowhere\.npz'"):
        deal("hetero-fixed", SIXTY, 6, file="nowhere.npz")


def test_o18_seeded_numbers() -> None:
    check_seeded_numbers("hetero-fixed")
