"""The output at the end of a run: a table, and plots."""

import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from analysis.reading.run_directory import LabelsAtHomeError, NoDataError, read_metrics, read_summary
from common.errors import UserError, described
from common.number_text import fixed
from common.plugin_kinds import PLOT
from common.plugins import find_function, names, project_names


def write_plots(run_dir: Path) -> list[Path]:
    """Draw every plot for which the run directory has data; return the pictures.

    Plots of labels that clients did not report are left out with one warning. A damaged file, or a failing
    plug-in plot, costs its picture and a warning: the run itself is complete.

    Raises
    ------
    UserError
        If damaged files leave no picture at all.
    """
    own = project_names(PLOT)
    pictures, without, at_home = [], [], ""
    problems: dict[str, str] = {}
    damaged: list[UserError] = []
    for name in [*own, *(name for name in names(PLOT) if name not in own)]:
        try:
            pictures.append(find_function(PLOT, name)(run_dir))
        except LabelsAtHomeError as error:
            without.append(name)
            at_home = str(error)
        except NoDataError:
            continue
        except Exception as error:  # a plug-in may raise anything
            if name in own and not isinstance(error, UserError):
                raise
            damaged += [error] if name in own and isinstance(error, UserError) else []
            problems[name] = str(error) if isinstance(error, UserError) else f"it failed: {described(error)}"
    if damaged and not pictures:
        raise damaged[0]
    for name, reason in problems.items():
        warnings.warn(f"there is no picture of plot '{name}': {reason}", stacklevel=2)
    if without:
        warnings.warn(f"there is no picture of {', '.join(without)}: {at_home}", stacklevel=2)
    return pictures


def print_summary(run_dir: Path, console: Console) -> None:
    """Print the outcome of a finished run as a table.

    Parameters
    ----------
    run_dir : pathlib.Path
        A run directory.
    console : rich.console.Console
        Where to print.

    Raises
    ------
    UserError
        If the run has no ``summary.json`` or no ``metrics.csv``.
    """
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    pages = {name: run_dir / name for name in ("plots", "report.html") if (run_dir / name).exists()}
    for name, value in {**summary_rows(run_dir), **pages}.items():
        table.add_row(name.removesuffix(".html"), str(value))
    console.print(table)


def summary_rows(run_dir: Path) -> dict[str, str]:
    """Return the outcome of a finished run as topic → text."""
    summary = read_summary(run_dir)
    metrics = read_metrics(run_dir)
    config = summary.get("config", {})
    rows = {
        "method": config.get("method.name"),
        "model": config.get("model.name"),
        "data": _joined(config.get("dataset.name"), config.get("partition.name")),
        "clients": config.get("clients.count"),
        "rounds": _rounds(summary),
        "final": _outcome(summary, "final"),
        "best": _outcome(summary, "best"),
        "diverged": summary.get("diverged") or None,
        "personal": _personal_outcome(summary),
        "time": _duration(summary.get("seconds"), summary.get("seconds_per_round")),
        "bytes": _traffic(metrics.get("bytes_down"), metrics.get("bytes_up")),
        "model sha256": str(summary.get("model_sha256", ""))[:12] or None,
    }
    return {name: str(value) for name, value in rows.items() if value is not None}


def _rounds(summary: dict[str, Any]) -> str | None:
    rounds = summary.get("rounds")
    if "unfinished" in summary:
        return f"{rounds} of {summary['config'].get('rounds')}, not finished"
    return None if rounds is None else str(rounds)


def _joined(dataset: str | None, partition: str | None) -> str | None:
    return f"{dataset}, {partition} partition" if dataset and partition else dataset


def _outcome(summary: dict[str, Any], which: str) -> str | None:
    split = (
        "test" if f"{which}.test_loss" in summary else "validation"
    )  # evaluate.test may hold back the test set
    accuracy, loss = summary.get(f"{which}.{split}_accuracy"), summary.get(f"{which}.{split}_loss")
    parts = []
    if accuracy is not None:
        parts.append(f"{split} accuracy {accuracy:.2%}")
    if loss is not None:
        parts.append(f"{split} loss {fixed(loss, 4)}")
    if parts and f"{which}.round" in summary:
        parts.append(f"in round {summary[f'{which}.round']}")
    return ", ".join(parts) or None


def _personal_outcome(summary: dict[str, Any]) -> str | None:
    """Describe the final accuracies of the clients' personal models."""
    labels = {"macro": "mean over clients", "worst_decile": "worst decile", "p10": "10th percentile"}
    values = {label: summary.get(f"final.personal_accuracy_{name}") for name, label in labels.items()}
    parts = [f"{label} {value:.2%}" for label, value in values.items() if value is not None]
    return f"accuracy: {', '.join(parts)}" if parts else None


def _duration(seconds: float | None, seconds_per_round: float | None) -> str | None:
    if seconds is None:
        return None
    minutes = f" ({seconds / 60:.1f} min)" if seconds >= 120 else ""
    per_round = f", {seconds_per_round:.3g} s per round" if seconds_per_round is not None else ""
    return f"{seconds:.1f} s{minutes}{per_round}"


def _traffic(down: Any, up: Any) -> str | None:
    if down is None or up is None:
        return None
    return f"{_readable_bytes(down.sum())} down, {_readable_bytes(up.sum())} up"


def _readable_bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
