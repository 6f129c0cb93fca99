"""The curves of several runs in one picture."""

from collections.abc import Sequence
from pathlib import Path

from analysis.comparison.mean_curve import draw_mean_curve
from analysis.reading.runs import SEED_KEY, Run, differing_keys, group_seeds
from analysis.style import PALETTE, TEXT_SIZE, integer_ticks, label_axes, method_colours, new_figure, save

LINE_STYLES = ("-", "--", ":", "-.")


def plot_comparison(runs: Sequence[Run], path: Path) -> Path:
    """Draw one line per configuration: the mean over its seeds, with a band of one sample deviation.

    Parameters
    ----------
    runs : sequence of Run
        Runs loaded with the same metric.
    path : pathlib.Path
        The PNG file to write.

    Returns
    -------
    pathlib.Path
        ``path``.
    """
    groups = group_seeds(runs)
    keys = [key for key in differing_keys(runs) if key != SEED_KEY]
    metric = str(runs[0].curve.name)
    is_accuracy = metric.endswith("accuracy")
    scale = 100 if is_accuracy else 1
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for group, (colour, line_style) in zip(groups, line_looks(groups), strict=True):
        draw_mean_curve(axes, group, scale, color=colour, linestyle=line_style, label=run_label(group, keys))
    integer_ticks(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=TEXT_SIZE - 1, frameon=False)
    label_axes(axes, "round", metric.replace("_", " ") + (" (%)" if is_accuracy else ""))
    return save(figure, path)


def line_looks(groups: Sequence[Sequence[Run]]) -> list[tuple[str, str]]:
    """Return colour and line style per group: colours distinguish methods, or groups if all use one."""
    methods = [str(group[0].config.get("method.name", "")) for group in groups]
    if len(set(methods)) == 1:
        colours = [PALETTE[index % len(PALETTE)] for index in range(len(groups))]
    else:
        by_method = method_colours(methods)
        colours = [by_method[method] for method in methods]
    seen: dict[str, int] = {}
    looks = []
    for colour in colours:
        position = seen.get(colour, 0)
        seen[colour] = position + 1
        looks.append((colour, LINE_STYLES[position % len(LINE_STYLES)]))
    return looks


def run_label(group: Sequence[Run], keys: Sequence[str]) -> str:
    """Return what a group of repetitions is called: its values of the keys that differ."""
    config = group[0].config
    ordered = sorted(keys, key=lambda key: key != "method.name")
    parts = [
        str(config[key]) if key == "method.name" else f"{key}={config[key]}"
        for key in ordered
        if key in config
    ]
    label = ", ".join(parts) or group[0].path.resolve().name
    return f"{label} ({len(group)} seeds)" if len(group) > 1 else label
