"""The filters of the first layer as pictures (Bao, Crawshaw and Liu, ICML 2024, figure 1).

``python -m analysis filters RUN_DIR [RUN_DIR ...] [--out FILE.png]`` draws a grid per run: a tile per filter,
``sigmoid(20 w)`` by colour, so that a weight of zero is mid-grey. It prints how many tiles are clearly not
grey.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.command import add_picture, add_runs, check_files, command, for_each
from analysis.reading.run_directory import NoDataError
from analysis.reading.selection import chosen_runs
from analysis.style import label_axes, new_figure, panels, save
from common.binary_files import read_safetensors
from common.command_line import Parser
from common.errors import UserError

Array = npt.NDArray[np.float64]

_SCALE = 20.0
_MAX_IN_A_ROW = 4
# A tile counts as clear if its values are on average further than this from grey.
_CLEAR = 0.1


def first_filters(run_dir: Path) -> Array:
    """Return the weights of the model's first convolution, shape (filters, channels, height, width).

    Raises
    ------
    UserError
        If the run has no model yet, or none with a convolution of one or three channels.
    """
    path = run_dir / "model.safetensors"
    if not path.is_file():
        raise NoDataError(f"{run_dir} has no model.safetensors: it is not a run directory, or not finished")
    for value in _in_order(read_safetensors(path)):
        if value.ndim == 4 and value.shape[1] in (1, 3):
            return np.asarray(value, dtype=np.float64)
    raise UserError(f"the model in {run_dir} has no convolution of one or three channels")


def tiles(weights: npt.ArrayLike) -> Array:
    """Return ``sigmoid(20 w)``: 0.5 for a weight of zero, near 0 and 1 for weights of -0.2 and 0.2."""
    return np.asarray(1 / (1 + np.exp(-_SCALE * np.asarray(weights, dtype=np.float64))))


def clear_share(weights: Array) -> float:
    """Return the share of filters whose tile differs from grey by more than 0.1 on average."""
    distance = np.abs(tiles(weights) - 0.5).reshape(len(weights), -1).mean(axis=1)
    return float((distance > _CLEAR).mean())


def grid(weights: Array) -> Array:
    """Return all tiles as one picture, row by row in the order of the filters, shape (height, width, 3)."""
    count, channels, height, width = weights.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = np.ones((rows * height, columns * width, 3))
    for index, tile in enumerate(tiles(weights).transpose(0, 2, 3, 1)):
        row, column = divmod(index, columns)
        place = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
        picture[place] = tile if channels == 3 else np.repeat(tile, 3, axis=2)
    return picture


def plot_filters(run_dirs: Sequence[Path], path: Path) -> Path:
    """Draw the grids of several runs side by side."""
    per_row = min(len(run_dirs), _MAX_IN_A_ROW)
    figure = new_figure(4.5 * per_row, 4.8 * -(-len(run_dirs) // per_row))
    for axes, run_dir in zip(panels(figure, len(run_dirs), per_row), run_dirs, strict=True):
        weights = first_filters(run_dir)
        axes.imshow(grid(weights), interpolation="nearest")
        label_axes(axes, "", "", f"{run_dir.resolve().name}: {clear_share(weights):.0%} clear")
        axes.set_xticks([])
        axes.set_yticks([])
    return save(figure, path)


def _in_order(model: dict[str, npt.NDArray[np.floating]]) -> list[npt.NDArray[np.floating]]:
    """Return the entries in the likely order of the model: stems first, then by name."""
    stems = ("conv1.", "stem", "convolutions.0.", "features.0.")
    return [model[name] for name in sorted(model, key=lambda name: (not name.startswith(stems), name))]


@command
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the shares and draw the picture."""
    parser = Parser(
        prog="python -m analysis filters", description="The filters of the first layer as pictures."
    )
    add_runs(parser)
    add_picture(parser)
    options = parser.parse_args(arguments)
    check_files(options)
    shown: list[Path] = []

    def show(run_dir: Path) -> None:
        print(f"{run_dir}: {clear_share(first_filters(run_dir)):.1%} of the filters are clear")
        shown.append(run_dir)

    for_each(chosen_runs(options.directories), show)
    if options.out:
        print(plot_filters(shown, options.out))


if __name__ == "__main__":
    sys.exit(main())
