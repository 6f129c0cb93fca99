"""Which features two clients learn together, against the number of local steps (Bao, Crawshaw and Liu, 2024).

``python -m studies.feature_learning --out DIR`` trains the model of ``studies/two_clients.py`` with several
periods H between averagings, prints a table and draws three pictures: accuracy and feature scores against H,
the growth of features and of memorised noise, and the final scores of every run. About half a minute on one
core. It reads no run directory. ``--activation relu`` takes a smoothed ReLU for the cubic filters (minutes).
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from analysis.command import command
from analysis.style import PALETTE, TEXT_SIZE, label_axes, new_figure, save
from common.command_line import Parser, make_console
from common.errors import UserError
from studies.two_clients import (
    CUBIC,
    RELU,
    Array,
    Problem,
    Trained,
    TwoClientSetting,
    accuracy,
    draw,
    scores,
    train,
)

PERIODS = (1, 10, 25, 50, 100, 300, 2400)
RELU_PERIODS = (1, 300)
# A client's task is solved, and a feature learned, from these values on.
SOLVED_ACCURACY = 0.99
LEARNED_SCORE = 0.5
LEARNED_RELU_SCORE = 2.0

_RECORDS = 120  # points of a trajectory


@dataclass(frozen=True)
class Outcome:
    """What a period H led to.

    Attributes
    ----------
    trained : Trained
        Weights and trajectories.
    train_accuracy, test_accuracy, feature_scores : numpy.ndarray
        Of the averaged model, shape (runs, 2): by run and client.
    learned : numpy.ndarray
        bool, shape (runs,): whether both features have been learned; with ``relu`` with both signs.
    """

    trained: Trained
    train_accuracy: Array
    test_accuracy: Array
    feature_scores: Array
    learned: np.ndarray

    @property
    def solved(self) -> np.ndarray:
        """Whether both clients' test accuracies are at least 0.99, by run."""
        return np.asarray((self.test_accuracy >= SOLVED_ACCURACY).all(axis=1))


def outcome(problem: Problem, period: int, record: bool = True) -> Outcome:
    """Train with a period H and measure the averaged model."""
    setting = problem.setting
    trained = train(problem, period, max(1, setting.steps // _RECORDS) if record else 0)
    weights = trained.weights
    return Outcome(
        trained,
        accuracy(weights, problem.train, setting),
        accuracy(weights, problem.test, setting),
        scores(weights),
        _learned(weights, setting),
    )


def table(outcomes: Mapping[int, Outcome]) -> pd.DataFrame:
    """Return means over runs and clients, and counts of runs, indexed by H."""
    rows = {
        period: {
            "train accuracy": result.train_accuracy.mean(),
            "test accuracy": result.test_accuracy.mean(),
            "runs with both clients solved": result.solved.sum(),
            "runs with both features": result.learned.sum(),
            "runs": len(result.solved),
        }
        for period, result in outcomes.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("H")


def plot_periods(outcomes: Mapping[int, Outcome], path: Path) -> Path:
    """Draw test accuracy and feature scores of every run against H on a logarithmic axis."""
    figure = new_figure(9, 3.8)
    panels = figure.subplots(1, 2)
    periods = list(outcomes)
    measures = (
        (
            "test accuracy, mean of both clients",
            {h: r.test_accuracy.mean(axis=1) for h, r in outcomes.items()},
        ),
        ("smaller of both feature scores", {h: r.feature_scores.min(axis=1) for h, r in outcomes.items()}),
    )
    for axes, (label, values) in zip(panels, measures, strict=True):
        for period in periods:
            axes.plot([period] * len(values[period]), values[period], ".", color=PALETTE[0], alpha=0.4)
        axes.plot(periods, [values[h].mean() for h in periods], color=PALETTE[0], label="mean over runs")
        axes.set_xscale("log")
        axes.grid(alpha=0.3)
        label_axes(axes, "local steps per round H", label)
    panels[0].axhline(0.5, color=PALETTE[8], linestyle=":", linewidth=1)
    panels[0].legend(fontsize=TEXT_SIZE - 2, frameon=False)
    return save(figure, path)


def plot_trajectories(outcomes: Mapping[int, Outcome], path: Path) -> Path:
    """Draw how features and memorised noise grow in the first run, a panel per H."""
    figure = new_figure(4.5 * len(outcomes), 3.8)
    panels = figure.subplots(1, len(outcomes), sharey=True, squeeze=False)[0]
    for axes, (period, result) in zip(panels, outcomes.items(), strict=True):
        trained = result.trained
        for client in (0, 1):
            colour = PALETTE[client]
            axes.plot(
                trained.steps,
                trained.features[:, 0, client],
                color=colour,
                label=f"client {client}: feature, max <w, v>",
            )
            axes.plot(
                trained.steps,
                trained.memory[:, 0, client],
                color=colour,
                linestyle="--",
                label=f"client {client}: noise, max y <w, xi>",
            )
        axes.grid(alpha=0.3)
        label_axes(axes, "local steps", "inner product" if axes is panels[0] else "", f"H = {period}")
    panels[0].legend(fontsize=TEXT_SIZE - 2, frameon=False)
    return save(figure, path)


def plot_scores(outcomes: Mapping[int, Outcome], path: Path) -> Path:
    """Draw the final feature scores of both clients in every run as bars, a panel per H."""
    figure = new_figure(4.5 * len(outcomes), 3.8)
    panels = figure.subplots(1, len(outcomes), sharey=True, squeeze=False)[0]
    for axes, (period, result) in zip(panels, outcomes.items(), strict=True):
        runs = np.arange(len(result.feature_scores))
        for client in (0, 1):
            axes.bar(
                runs + 0.4 * client - 0.2,
                result.feature_scores[:, client],
                width=0.4,
                color=PALETTE[client],
                label=f"client {client}",
            )
        axes.set_xticks(runs)
        label_axes(axes, "run (seed)", "max <w, v>" if axes is panels[0] else "", f"H = {period}")
    panels[0].set_ylim(top=1.15 * max(result.feature_scores.max() for result in outcomes.values()))
    panels[0].legend(fontsize=TEXT_SIZE - 2, frameon=False, ncols=2, loc="upper left")
    return save(figure, path)


def _learned(weights: Array, setting: TwoClientSetting) -> np.ndarray:
    features = weights[:, :, :2]
    if setting.activation == "cubic":
        return np.asarray((features.max(axis=1) > LEARNED_SCORE).all(axis=1))
    half = setting.filters // 2
    positive = features[:, :half].max(axis=1) > LEARNED_RELU_SCORE
    negative = features[:, half:].min(axis=1) < -LEARNED_RELU_SCORE
    return np.asarray((positive & negative).all(axis=1))


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the pictures."""
    parser = Parser(
        prog="python -m studies.feature_learning",
        description="Two clients with feature noise: what local steps learn that parallel SGD does not.",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="folder for the pictures and table.csv")
    text = "activation of the network (%(default)s)"
    parser.add_argument("--activation", choices=("cubic", "relu"), default="cubic", help=text)
    parser.add_argument("--seeds", type=int, metavar="COUNT", help="number of runs (10; with relu 4)")
    parser.add_argument("--periods", metavar="H,...", help="local steps per round")
    parser.add_argument("--rho", type=float, help="magnitude of the feature noise (0.85)")
    options = parser.parse_args(arguments)
    is_cubic = options.activation == "cubic"
    setting = CUBIC if is_cubic else RELU
    if options.rho is not None:
        setting = TwoClientSetting(**{**vars(setting), "rho": options.rho})
    periods = _periods(options.periods) if options.periods else PERIODS if is_cubic else RELU_PERIODS
    num_runs = options.seeds if options.seeds is not None else 10 if is_cubic else 4
    if num_runs < 1:
        raise UserError(f"--seeds must be at least 1, got {num_runs}")
    problem = draw(range(num_runs), setting)
    outcomes = {period: outcome(problem, period) for period in periods}
    found = table(outcomes)
    _print(found)
    if options.out:
        for picture in _draw_all(outcomes, options.out):
            print(picture)
        found.to_csv(options.out / "table.csv")


def _draw_all(outcomes: Mapping[int, Outcome], folder: Path) -> list[Path]:
    shown = [period for period in (1, 100) if period in outcomes]
    few = {period: outcomes[period] for period in shown or list(outcomes)}
    if len(shown) == 1 and len(outcomes) > 1:
        few = {period: outcomes[period] for period in (*shown, max(outcomes))}
    return [
        plot_periods(outcomes, folder / "periods.png"),
        plot_trajectories(few, folder / "trajectories.png"),
        plot_scores(few, folder / "scores.png"),
    ]


def _periods(text: str) -> list[int]:
    try:
        periods = [int(part) for part in text.split(",")]
    except ValueError:
        periods = []
    if not periods or min(periods) < 1:
        raise UserError(f"--periods takes whole numbers from 1 on, separated by commas, not '{text}'")
    return sorted(set(periods))


def _print(found: pd.DataFrame) -> None:
    printed = Table("H", *found.columns)
    for period, row in found.iterrows():
        texts = (f"{value:.3f}" if "accuracy" in str(name) else f"{value:.0f}" for name, value in row.items())
        printed.add_row(str(period), *texts)
    make_console().print(printed)


if __name__ == "__main__":
    sys.exit(main())
