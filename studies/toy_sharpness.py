"""Label noise and flat minima, on two weights: ``python -m studies.toy_sharpness --out DIR``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from analysis.command import command
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, new_figure, save
from common.command_line import Parser, make_console
from common.errors import UserError
from studies.label_noise_toy import ToySetting, Trajectory, simulate, theory

CELLS = ((8, 1), (8, 5), (8, 20), (8, 100), (1, 1))

Results = dict[tuple[int, int], tuple[Trajectory, Trajectory]]


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print the table and draw the picture."""
    parser = Parser(
        prog="python -m studies.toy_sharpness",
        description="Sharpness against steps for K workers and H local steps, simulated and in theory.",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of table and picture")
    parser.add_argument("--steps", type=int, default=ToySetting.steps, help="local steps (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=ToySetting.repetitions, help="runs (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the runs (%(default)s)")
    options = parser.parse_args(arguments)
    setting = _setting(options.steps, options.repetitions)
    results = {(k, h): (simulate(k, h, setting, options.seed), theory(k, h, setting)) for k, h in CELLS}
    _print(results)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "toy-sharpness.csv").write_text(_csv(results), encoding="utf-8")
    print(f"curves: {plot_sharpness(results, options.out / 'toy-sharpness.png')}")


def plot_sharpness(results: Results, path: Path) -> Path:
    """Draw sharpness against steps, simulated (lines) and in theory (dashes), into a PNG file."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for colour, ((k, h), (simulated, predicted)) in zip(PALETTE, results.items(), strict=False):
        axes.plot(simulated.steps, simulated.sharpness, color=colour, label=f"K = {k}, H = {h}")
        axes.plot(predicted.steps, predicted.sharpness, color=colour, linestyle="--", linewidth=0.9)
    axes.plot([], [], color="black", linestyle="--", linewidth=0.9, label="slow SDE")
    label_axes(axes, "local steps", "trace of the Hessian")
    integer_ticks(axes.xaxis, most=6)
    axes.legend(fontsize=TEXT_SIZE - 1, frameon=False)
    return save(figure, path)


def _setting(steps: int, repetitions: int) -> ToySetting:
    period = max(h for _, h in CELLS)
    if steps < period or steps % period:
        raise UserError(f"--steps must be a positive multiple of {period}, not {steps}")
    if repetitions < 1:
        raise UserError(f"--repetitions must be at least 1, not {repetitions}")
    return ToySetting(steps=steps, repetitions=repetitions)


def _print(results: Results) -> None:
    table = Table("K", "H", "simulated", "theory", title="sharpness at the end")
    for (k, h), (simulated, predicted) in results.items():
        table.add_row(str(k), str(h), f"{simulated.final:.2f}", f"{predicted.final:.2f}")
    make_console().print(table)


def _csv(results: Results) -> str:
    lines = ["workers,local_steps,simulated,theory"]
    lines += [f"{k},{h},{a.final:.6g},{b.final:.6g}" for (k, h), (a, b) in results.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
