"""Read the records of ``analysis.feature-rounds``: feature statistics, heads, accuracies by class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.reading.run_directory import NoDataError, feature_files, read_label_distribution
from common.binary_files import read_safetensors
from common.errors import UserError

OWN_HEAD = "classifier"
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FeatureFile:
    """Features of the test images after one round, by class.

    Attributes
    ----------
    server_round : int
        The round.
    means, variances : ndarray
        (classes, features).
    heads : dict
        Name → weight (classes, features).
    """

    server_round: int
    means: Array
    variances: Array
    heads: dict[str, Array]

    @property
    def relative_variances(self) -> Array:
        """Variance / mean^2, 0 where both are 0 (FedLoGe, section 3)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Array = np.divide(self.variances, self.means**2)
        ratio[(self.variances == 0) & (self.means == 0)] = 0
        return ratio


def read_features(run_dir: Path, server_round: int | None = None) -> FeatureFile:
    """Return the features of a round, by default the last recorded one.

    Raises
    ------
    UserError
        If the round has none.
    """
    files = feature_files(run_dir)
    chosen = max(files) if server_round is None else server_round
    if chosen not in files:
        known = ", ".join(map(str, sorted(files)))
        raise UserError(f"{run_dir} has no features of round {chosen}, but of {known}")
    tensors = read_safetensors(files[chosen])
    if not {"means", "variances"} <= set(tensors):
        raise UserError(f"{files[chosen]} is damaged: it has no means and variances")
    heads = {
        name.removeprefix("head/"): value.astype(np.float64)
        for name, value in tensors.items()
        if name.startswith("head/")
    }
    return FeatureFile(
        chosen, tensors["means"].astype(np.float64), tensors["variances"].astype(np.float64), heads
    )


def class_counts(run_dir: Path) -> Array:
    """Return the number of training samples of each class over all clients, (classes,)."""
    counts: Array = read_label_distribution(run_dir).to_numpy(dtype=np.float64).sum(axis=0)
    return counts


def spearman(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation; NaN if either is constant."""
    ranks = pd.DataFrame({"first": pd.Series(first).rank(), "second": pd.Series(second).rank()})
    return float(ranks["first"].corr(ranks["second"]))


def local_head_norms(run_dir: Path) -> pd.DataFrame:
    """Return the row norms of the clients' local heads in the last checkpoint.

    Returns
    -------
    pandas.DataFrame
        A row per client that has trained, indexed by ``client_id``; a column per class.

    Raises
    ------
    UserError
        If there is no checkpoint, or its clients keep no heads (only FedLoGe's do).
    """
    rows: dict[int, Array] = {}
    files = (run_dir / "checkpoints").rglob("client-*.safetensors")
    for path in sorted(files, key=lambda path: path.name):  # later rounds come later
        tensors = read_safetensors(path)
        if "local-head::weight" in tensors:
            client_id = int(path.name.split("-")[1])
            rows[client_id] = np.linalg.norm(tensors["local-head::weight"].astype(np.float64), axis=1)
    if not rows:
        raise NoDataError(f"{run_dir} has no local heads in its checkpoints: runs of fedloge do")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("client_id").sort_index()
