"""Scikit-learn's digits, read without importing scikit-learn, which would take a second."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

_FILE = Path("datasets") / "data" / "digits.csv.gz"  # below the package
_SIDE = 8


def read_digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return images, (1797, 8, 8) with intensities 0 to 16, and labels, (1797,)."""
    path = _path()
    if path is None:  # another release of scikit-learn may keep it elsewhere
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return bunch.images, bunch.target.astype(np.int64)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = np.loadtxt(file, delimiter=",")
    return rows[:, :-1].reshape(-1, _SIDE, _SIDE), rows[:, -1].astype(np.int64)


def _path() -> Path | None:
    """Return the path of the file in the installed scikit-learn, or None, without importing anything."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    return None
