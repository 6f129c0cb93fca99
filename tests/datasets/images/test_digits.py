"""The digits are scikit-learn's, read with or without it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import datasets.images.digits
from datasets.images.digits import read_digits


@pytest.mark.parametrize("has_moved", [False, True])
def test_they_are_those_of_scikit_learn(has_moved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_moved:
        monkeypatch.setattr(datasets.images.digits, "_path", lambda: None)
    images, labels = read_digits()
    bunch = load_digits()
    assert np.array_equal(images, bunch.images)
    assert np.array_equal(labels, bunch.target)
    assert labels.dtype == np.int64


def test_the_installed_scikit_learn_has_the_file_where_it_is_read() -> None:
    path = datasets.images.digits._path()
    assert path is not None
    assert path.name == "digits.csv.gz"
