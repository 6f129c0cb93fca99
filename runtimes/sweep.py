"""A sweep: the runs of an experiment file with axes, one after the other, and their table."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from clients.app import app
from common.command_line import make_console
from common.config import Config
from common.config_values import merge
from common.errors import ClientFailureError, UserError
from common.experiment import DEFAULT_METRICS, Experiment, LabelFilter
from common.files import write_atomic
from common.number_text import fixed
from common.request import write_request
from common.sweep_files import SWEEP_FILE
from runtimes.run import run, saying_how_to_resume
from runtimes.sequential import SequentialGrid
from runtimes.sweep_plan import PlannedRun, add_axes, naming, plan
from runtimes.sweep_state import State, state_of
from server.interrupt import stop_between_runs
from server.named_parameters import without_inherited
from server.preparation import make_parts
from server.records.columns import check_metrics
from server.records.run_directory import check_writable

# Sections that a published number depends on, and keys in them that do not affect it.
_PUBLISHED_SECTIONS = ("dataset.", "model.", "partition.")
_UNPUBLISHED_KEYS = (
    "dataset.root", "dataset.download", "augmentation.name", "augmentation.padding", "augmentation.cutout",
)  # fmt: skip


def launch_sweep(experiment: Experiment, options: argparse.Namespace, text: str) -> int:
    """Run a sweep, or list it; return the exit code. `text` is the content of the experiment file."""
    console = make_console()
    directory, metrics = directory_of(options), experiment.metrics
    experiment = add_axes(experiment, options)
    selection = LabelFilter(options.only, experiment.axes)
    runs = plan(experiment, options, directory, selection)
    if list(metrics) != list(DEFAULT_METRICS):  # where nothing is named, the table takes what was measured
        _check_metrics(metrics, runs, options)
    chosen = {item.same_as or item.name for item in runs if item.point in selection}
    selected = [item for item in runs if item.name in chosen]
    states = {item.name: state_of(item.path, item.config) for item in runs if not item.same_as}
    if options.list:
        _print_list([item for item in runs if item.point in selection], states, console)
        return 0
    _check_states(selected, states, directory, options.resume)
    check_writable(directory)
    if options.resume and not (directory / SWEEP_FILE).is_file():
        console.print(f"no sweep to resume in {directory}: starting a new one", markup=False, soft_wrap=True)
    waiting = [item for item in selected if states[item.name].kind != "finished"]
    with saying_how_to_resume(directory):
        check(waiting, console)
        directory.mkdir(parents=True, exist_ok=True)
        write_description(directory / SWEEP_FILE, experiment, runs)
        write_request(directory, text, options.arguments)
        failed = run_all(selected, states, console)

    from analysis.comparison.report import write_page
    from analysis.comparison.sweep_report import write_report

    if len(failed) < len(selected):
        write_report(directory, console)
        write_page(directory)
    if failed:
        count = f"{len(failed)} of {len(selected)} runs failed"
        raise ClientFailureError(f"{count}: {', '.join(failed)}; --resume tries again")
    return 0


def _check_metrics(metrics: Sequence[str], runs: Sequence[PlannedRun], options: argparse.Namespace) -> None:
    """Refuse ``report.metrics`` that no run can have; also those of runs that are not selected now count."""
    try:
        check_metrics(metrics, [item.config for item in runs])
    except UserError as error:
        raise UserError(f"{options.experiment}: {error}") from None


def check(runs: Sequence[PlannedRun], console: Console) -> None:
    """Prepare every run up to its first round, including its data, without training.

    Raises
    ------
    UserError
        One line that begins with the name of the run.
    """
    with console.status("checking every configuration"):
        for item in runs:
            with naming(item.name):
                check_one(item.config)


def check_one(config: Config) -> None:
    """Prepare a run up to its first round, without training."""
    with SequentialGrid(app, config.clients.count, config.flat()) as grid:
        make_parts(config, grid)


def run_all(runs: Sequence[PlannedRun], states: Mapping[str, State], console: Console) -> list[str]:
    """Run the unfinished runs in order; one that fails, for example by diverging, does not stop the others.

    Returns
    -------
    list of str
        The names of the runs that failed.

    Raises
    ------
    KeyboardInterrupt
        After a request to stop, once the current round is committed.
    """
    failed: list[str] = []
    with stop_between_runs() as request:
        for number, item in enumerate(runs, start=1):
            state = states[item.name]
            title = f"[{number}/{len(runs)}] {item.name}"
            if state.kind == "finished":
                console.print(f"{title}: {_outcome(state.summary)}, finished before", markup=False)
                continue
            if request.requested:
                raise KeyboardInterrupt
            console.print(f"{title}: {item.path}", markup=False, highlight=False, soft_wrap=True)
            resume = {"run": item.config.run.model_copy(update={"resume": state.kind == "unfinished"})}
            try:
                run(item.config.model_copy(update=resume), item.config.run.directory)
            except ClientFailureError as error:
                failed.append(item.name)
                console.print(f"{title} failed, the others continue: {error}", markup=False, soft_wrap=True)
    if request.requested:
        console.print("the last run is finished: nothing is left to stop")
    return failed


def write_description(path: Path, experiment: Experiment, runs: Sequence[PlannedRun]) -> None:
    """Write what ``analysis`` needs to know about a sweep: axes, runs and published numbers."""
    content = {
        "axes": {axis: list(labels) for axis, labels in experiment.axes.items()},
        "metrics": list(experiment.metrics),
        "runs": {item.name: _description(experiment, item) for item in runs},
    }
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def _description(experiment: Experiment, item: PlannedRun) -> dict[str, Any]:
    return {
        "labels": dict(item.point.labels),
        "directory": item.same_as or item.name,
        "published": experiment.published_for(item.point.labels) if _is_as_published(item) else None,
    }


def _is_as_published(item: PlannedRun) -> bool:
    """Return whether a run has the file's own data and model, so that its published number applies."""
    own, values = merge(item.point.overrides), item.config.flat()
    return all(
        own.get(key) == values.get(key)
        for key in item.assignments
        if key.startswith(_PUBLISHED_SECTIONS) and key not in _UNPUBLISHED_KEYS
    )


def directory_of(options: argparse.Namespace) -> Path:
    """Return the directory of a sweep or a search: ``--run-dir``, or a new one in ``runs/``."""
    if options.run_dir:
        directory = Path(options.run_dir)
        if (directory / "config.toml").exists():
            raise UserError(f"{directory} holds a single run: choose another --run-dir for the sweep")
        return directory
    if options.resume:
        raise UserError("--resume needs --run-dir: the directory of the sweep to resume, or to start")
    stem = options.experiment.stem if options.experiment else "sweep"
    return Path("runs") / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"


def _check_states(
    runs: Sequence[PlannedRun], states: Mapping[str, State], directory: Path, resume: bool
) -> None:
    different = [item for item in runs if states[item.name].differences]
    if different:
        others = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        first = different[0].name
        raise UserError(
            f"{directory} holds runs other than these: {first}:"
            f" {'; '.join(states[first].differences)}{others}; choose another --run-dir"
        )
    unfinished = [item.name for item in runs if states[item.name].kind == "unfinished"]
    if unfinished and not resume:
        others = f" and {len(unfinished) - 1} more" if len(unfinished) > 1 else ""
        raise UserError(
            f"{directory} holds an unfinished run, {unfinished[0]}{others}: resume with --resume or choose"
            " another --run-dir"
        )


def _print_list(runs: Sequence[PlannedRun], states: Mapping[str, State], console: Console) -> None:
    values = {item.name: without_inherited(item.config) for item in runs}
    keys = {key: None for flat in values.values() for key in flat if not key.startswith("run.")}
    varying = [key for key in keys if len({repr(flat.get(key)) for flat in values.values()}) > 1]
    table = Table(
        Column("run", no_wrap=True), "state", Column("overrides in which they differ", overflow="fold")
    )
    for item in runs:
        flat = values[item.name]
        overrides = " ".join(f"{key}={flat[key]}" for key in varying if key in flat)
        table.add_row(item.name, escape(_state_text(item, states)), escape(overrides))
    console.print(table)


def _state_text(item: PlannedRun, states: Mapping[str, State]) -> str:
    if item.same_as:
        return f"same as {item.same_as}"
    state = states[item.name]
    if state.differences:
        return f"another configuration: {'; '.join(state.differences)}"
    return _outcome(state.summary) if state.kind == "finished" else state.kind


def _outcome(summary: Mapping[str, Any]) -> str:
    accuracy, loss = summary.get("final.test_accuracy"), summary.get("final.test_loss")
    rounds = f"{summary.get('rounds')} rounds"
    if isinstance(accuracy, float):
        return f"{rounds}, test accuracy {accuracy:.2%}"
    return f"{rounds}, test loss {fixed(loss, 4)}" if isinstance(loss, float) else rounds
