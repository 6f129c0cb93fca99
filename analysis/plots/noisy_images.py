"""Images with feature noise: a row per magnitude, a column per client (Bao, Crawshaw and Liu, ICML 2024).

``python -m analysis noisy-images RUN_DIR [--out FILE.png]`` draws ``feature_noise.npz`` of a run with
``dataset.feature-noise``: one training image of each client, without noise and with that client's noise at
several magnitudes.
"""

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.command import draw_command
from analysis.reading.run_directory import NoDataError
from analysis.style import TEXT_SIZE, new_figure, save
from common.binary_files import read_npz
from common.errors import UserError

_GAP = 2  # black pixels between images
_MAX_CLIENTS = 16


def read_noisy_images(run_dir: Path) -> tuple[list[float], npt.NDArray[np.uint8]]:
    """Return magnitudes rho and images, uint8 of shape (magnitudes, clients, channels, height, width).

    Raises
    ------
    UserError
        If the run has recorded none.
    """
    path = run_dir / "feature_noise.npz"
    if not path.is_file():
        raise NoDataError(f"{run_dir} has no feature_noise.npz: runs with dataset.feature-noise do")
    content = read_npz(path, "rho", "images")
    rho, images = content["rho"], content["images"]
    if images.ndim != 5 or images.dtype != np.uint8 or rho.shape != images.shape[:1] or not images.size:
        raise UserError(f"{path} is damaged: its images are {images.dtype} of shape {images.shape}")
    return rho.tolist(), images


def grid(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return images of shape (rows, columns, channels, height, width) as one picture with black gaps."""
    rows, columns, _, height, width = images.shape
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3)
    picture = np.zeros(shape, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * (height + _GAP), column * (width + _GAP)
            image = images[row, column].transpose(1, 2, 0)
            picture[top : top + height, left : left + width] = np.broadcast_to(image, (height, width, 3))
    return picture


def plot(run_dir: Path, out: Path | None = None) -> Path:
    """Draw the grid, into ``plots/noisy_images.png`` if no file is given."""
    magnitudes, images = read_noisy_images(run_dir)
    images = images[:, :_MAX_CLIENTS]
    picture = grid(images)
    figure = new_figure(1.2 + 0.9 * images.shape[1], 0.6 + 0.9 * images.shape[0])
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    height, width = images.shape[-2] + _GAP, images.shape[-1] + _GAP
    axes.set_yticks(
        [height * (row + 0.5) for row in range(len(magnitudes))],
        [f"rho = {_readable(rho)}" for rho in magnitudes],
        fontsize=TEXT_SIZE,
    )
    columns = images.shape[1]
    axes.set_xticks(
        [width * (column + 0.5) for column in range(columns)],
        [f"client {column}" if columns <= 10 else str(column) for column in range(columns)],
        fontsize=TEXT_SIZE - 2,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return save(figure, run_dir / "plots" / "noisy_images.png")


def _readable(rho: float) -> str:
    fraction = Fraction(rho).limit_denominator(64)
    return str(fraction) if fraction == Fraction(rho) else f"{rho:g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture and return the exit code."""
    return draw_command(
        "noisy-images",
        "Images of a run with feature noise.",
        lambda run_dir, options: plot(run_dir),
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
