"""How even the clients' accuracies are: their distribution, and the mean of the worst tenth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.legend import Legend, line_look
from analysis.reading.run_directory import NoDataError, read_evaluations
from analysis.reading.runs import Run
from analysis.style import PALETTE, label_axes, new_figure, save

# Column of evaluations.csv → the model that predicts.
MODELS = {"accuracy": "global model", "personal_accuracy": "personal models"}
HEADER = ("clients", "mean", "deviation", "worst tenth", "10th percentile", "median", "90th percentile")
_WIDTH = 7  # inches

Accuracies = npt.NDArray[np.float64]
Groups = Sequence[tuple[str, Sequence[Run]]]


def client_accuracies(run_dir: Path) -> dict[str, Accuracies]:
    """Return model → sorted accuracies of the clients that measured it last, all in the same round.

    Raises
    ------
    UserError
        If there is no ``evaluations.csv``, or it has no rows or no accuracies.
    """
    table = read_evaluations(run_dir)
    found: dict[str, Accuracies] = {}
    for column, name in MODELS.items():
        if column in table and not (measured := table[["round", column]].dropna()).empty:
            last = measured[measured["round"] == measured["round"].max()]
            found[name] = np.sort(last[column].to_numpy(dtype=np.float64))
    if not found:
        raise NoDataError(f"{run_dir / 'evaluations.csv'} holds no accuracies")
    return found


def fairness(values: Accuracies) -> list[float]:
    """Return the statistics of `HEADER` for sorted accuracies; the worst tenth has at least one client."""
    worst = values[: max(1, len(values) // 10)].mean()
    low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
    return [float(len(values)), *map(float, (values.mean(), values.std(), worst, low, median, high))]


def by_group(groups: Groups) -> dict[str, list[Accuracies]]:
    """Return label → accuracies of each seed, of the configurations whose clients were evaluated."""
    found: dict[str, list[Accuracies]] = {}
    for label, runs in groups:
        for run in runs:
            try:
                accuracies = client_accuracies(run.path)
            except NoDataError:
                continue
            for model, values in accuracies.items():
                found.setdefault(f"{label}: {model}" if len(groups) > 1 else model, []).append(values)
    return found


def fairness_rows(found: dict[str, list[Accuracies]]) -> list[list[str]]:
    """Return rows of text: the mean over seeds of each statistic, accuracies in per cent."""
    rows = []
    for label, seeds in found.items():
        clients, *accuracies = np.mean([fairness(values) for values in seeds], axis=0)
        rows.append([label, f"{clients:g}", *(f"{100 * value:.2f}" for value in accuracies)])
    return rows


def plot_fairness(found: dict[str, list[Accuracies]], path: Path) -> Path:
    """Draw the cumulative distribution of client accuracies, seeds pooled; the worst tenth is shaded."""
    legend = Legend(list(found), _WIDTH)
    looks = [legend.look(number, {**line_look(number), "linewidth": 1.5}) for number in range(len(found))]
    figure = new_figure(_WIDTH, 3.2 + legend.height)
    axes = figure.subplots()
    axes.axhspan(0, 10, color=PALETTE[8], alpha=0.15, linewidth=0)
    for seeds, look in zip(found.values(), looks, strict=True):
        values = np.sort(np.concatenate(seeds))
        shares = np.arange(1, len(values) + 1) / len(values)
        x, y = np.concatenate([values[:1], values]), np.concatenate([[0.0], shares])
        axes.step(100 * x, 100 * y, where="post", **look)
    axes.set_xlim(-2, 102)
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    label_axes(axes, "accuracy on a client's own data (%)", "clients with at most that (%)")
    legend.draw(figure, looks)
    return save(figure, path)
