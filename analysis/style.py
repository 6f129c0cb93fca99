"""A common style for all figures: sizes, colours and files, without pyplot and its global state."""

import contextlib
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from common.errors import UserError

# Formats by ending, with the metadata that keeps the date out of the file: same data, same bytes.
_UNDATED: dict[str, dict[str, str | None]] = {
    ".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None},
}  # fmt: skip
ENDINGS = tuple(_UNDATED)
DOTS_PER_INCH = 150
TEXT_SIZE = 10
_CHARACTER = 0.55  # width of a character, of its size
_AXIS_SHARE = 0.6  # of the height of a panel
TITLE_SIZE = 11

# The palette of Okabe and Ito, which colour-blind readers can distinguish, and three more for long legends.
PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#D55E00",
    "#56B4E9",
    "#7F3C8D",
    "#A5761D",
    "#666666",
)
METHOD_COLOURS = {
    "fedavg": PALETTE[0],
    "fedprox": PALETTE[1],
    "scaffold": PALETTE[2],
    "moon": PALETTE[3],
    "fedadam": PALETTE[4],
    "fedavgm": PALETTE[5],
}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` by ``height`` inches with automatic layout, drawn with Agg."""
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(figure: Figure | SubFigure, count: int, most_in_a_row: int, *, sharey: bool = False) -> list[Axes]:
    """Return panels in rows that fill the width: the panels of a shorter last row are wider.

    Parameters
    ----------
    figure : Figure or SubFigure
        The parent of the panels.
    count, most_in_a_row : int
        The number of panels, in all and at most per row; rows differ by at most one.
    sharey : bool
        Whether all share the vertical axis of the first.
    """
    rows = -(-count // most_in_a_row)
    lengths = [count // rows + (row < count % rows) for row in range(rows)]
    width = math.lcm(*lengths)
    grid = figure.add_gridspec(rows, width)
    found: list[Axes] = []
    for row, length in enumerate(lengths):
        step = width // length
        for place in range(length):
            shared = found[0] if sharey and found else None
            found.append(figure.add_subplot(grid[row, place * step : (place + 1) * step], sharey=shared))
            if shared is not None and place:
                found[-1].tick_params(labelleft=False)
    return found


def label_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Label both axes and apply the common style."""
    axes.set_xlabel(x, fontsize=TEXT_SIZE)
    axes.set_ylabel(_in_lines(axes, y), fontsize=TEXT_SIZE)
    if title:
        axes.set_title(title, fontsize=TITLE_SIZE)
    axes.tick_params(labelsize=TEXT_SIZE - 1)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)


def _in_lines(axes: Axes, label: str) -> str:
    """Return a label of the vertical axis in lines that are no longer than the axis."""
    figure, place = axes.figure, axes.get_subplotspec()
    share = place.rowspan.stop - place.rowspan.start if place else 1
    rows = place.get_gridspec().nrows if place else 1
    height = figure.bbox.height / figure.dpi * share / rows
    characters = int(_AXIS_SHARE * height * 72 / (_CHARACTER * TEXT_SIZE))
    return textwrap.fill(label, max(characters, 1), break_long_words=False, break_on_hyphens=False)


def integer_ticks(axis: Axis, most: int = 9) -> None:
    """Put ticks at round integers only, such as multiples of 5 or 20."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def short_names(names: Sequence[str]) -> list[str]:
    """Return names of layers as labels: without ``.weight`` and a module that contains all of them."""
    short = [name.removesuffix(".weight") for name in names]
    outer, _, _ = short[0].partition(".")
    inner = [name.removeprefix(f"{outer}.") for name in short]
    is_around_all = all(name.startswith(f"{outer}.") for name in short)
    return inner if is_around_all and not any(name[0].isdigit() for name in inner) else short


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Return one colour per method: a fixed one for known methods, the free ones in order for others.

    Those of known methods that are not among them come last, so that up to nine methods differ.
    """
    taken = [METHOD_COLOURS[method] for method in methods if method in METHOD_COLOURS]
    fixed = list(METHOD_COLOURS.values())
    free = sorted((colour for colour in PALETTE if colour not in taken), key=fixed.__contains__) or PALETTE
    others = sorted(set(methods) - set(METHOD_COLOURS))
    colours = {method: free[index % len(free)] for index, method in enumerate(others)}
    return {method: METHOD_COLOURS.get(method) or colours[method] for method in methods}


_further_endings: ContextVar[tuple[str, ...]] = ContextVar("further endings", default=())
_instead: ContextVar[Path | None] = ContextVar("instead", default=None)


@contextlib.contextmanager
def drawing(endings: Sequence[str] = (), into: Path | None = None) -> Iterator[None]:
    """Within the block, also draw all pictures with these endings, or into another file."""
    tokens = _further_endings.set(tuple(endings)), _instead.set(into)
    try:
        yield
    finally:
        _further_endings.reset(tokens[0])
        _instead.reset(tokens[1])


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format given by the ending of its name, create its folder, and return its path.

    Within `drawing`, the name may be another one, and there may be further files with other endings.

    Raises
    ------
    UserError
        If the ending is not that of a known format, or the file cannot be written.
    """
    path = _instead.get() or path
    for file in dict.fromkeys([path, *(path.with_suffix(ending) for ending in _further_endings.get())]):
        _write(figure, file)
    return path


def check_picture_file(path: Path | None) -> None:
    """Refuse a file name without a known picture format, before anything is computed.

    Raises
    ------
    UserError
        If its ending is none of `ENDINGS`.
    """
    if path is not None and path.suffix.lower() not in _UNDATED:
        raise UserError(f"cannot draw into {path}: its name must end with {', '.join(_UNDATED)}")


def _write(figure: Figure, path: Path) -> None:
    check_picture_file(path)
    kind = path.suffix.lower()
    options: dict[str, Any] = {"format": kind.removeprefix("."), "metadata": _UNDATED[kind]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # A glyph that the font lacks is drawn as a box; the reader of the warning could not fix it.
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure.savefig(path, **options)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
