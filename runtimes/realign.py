"""Realign the heads of a finished run of FedLoGe, without any training, in all published forms.

python -m runtimes.realign RUN_DIRECTORY [--set key=value ...]
"""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from common.command_line import Parser, make_console
from common.config import Config
from common.config_values import parse_assignment
from common.errors import UserError
from common.files import expanded, write_atomic
from common.sections import Value
from runtimes.command import exit_code
from runtimes.run import make_grid
from server.checkpoints.checkpoint import CheckpointStore
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.realignment import FORMS, GROUPS, Realigned, evaluate_checkpoint
from server.records.client_metrics import summarise_evaluations
from server.records.run_directory import lock_directory

INFERENCE = "method.inference"
HEADS = ("global_head", "realigned", "realigned_unit_norm", "realigned_without_bias")
_PERSONAL = ("macro", "worst_decile", "masked_macro", "masked_worst_decile")
# The keys of realignment, and those that set where it computes.
_CHANGEABLE = (
    INFERENCE, "method.kappa", "method.paper-bias", "method.fine-tuning-epochs", "device", "dataset.root",
)  # fmt: skip
_CHANGEABLE_SECTIONS = ("evaluate.", "runtime.", "resources.", "ray.")


def realign(run_directory: Path, assignments: Sequence[str] = ()) -> int:
    """Evaluate the last checkpoint of a run of FedLoGe with realigned heads; return the exit code.

    Every published form of the personalised prediction is evaluated on all clients, or the one that
    ``method.inference`` among the assignments selects. Writes ``realignment.csv``, a row per form and client,
    and ``realignment.json`` to the run directory, and nothing else.

    Parameters
    ----------
    run_directory : Path
        The directory of a run with a checkpoint.
    assignments : sequence of str
        ``key=value`` of ``method.kappa``, ``method.paper-bias``, ``method.inference``,
        ``method.fine-tuning-epochs``, of what is measured,
        or of where to compute.

    Raises
    ------
    UserError
        If there is no such run, or a key must not be changed.
    """
    overrides = dict(parse_assignment(assignment) for assignment in assignments)
    for key in overrides:
        if key not in _CHANGEABLE and not key.startswith(_CHANGEABLE_SECTIONS):
            raise UserError(f"realignment does not take {key}: it may change {', '.join(_CHANGEABLE)}")
    found = find_stored_config(run_directory)
    if found is None:
        raise UserError(f"there is no run in {run_directory}")
    with lock_directory(run_directory):
        checkpoint = CheckpointStore(run_directory / "checkpoints").load_latest()
        if checkpoint is None:
            raise UserError(f"{run_directory} has no checkpoint: the run has not reached that point")
        stored = stored_config(found.values).flat()
        forms = [str(overrides[INFERENCE])] if INFERENCE in overrides else list(FORMS)
        results: dict[str, Realigned] = {}
        for form in forms:
            config = _configure(stored, {**overrides, INFERENCE: form})
            with make_grid(config) as grid:
                results[form] = evaluate_checkpoint(config, grid, checkpoint)
        _write(run_directory, checkpoint.server_round, results)
    _print(results)
    return 0


def _configure(stored: Mapping[str, Value], overrides: Mapping[str, Value]) -> Config:
    if (name := stored["method.name"]) != "fedloge":
        raise UserError(f"only runs of 'fedloge' have heads to realign, not runs of '{name}'")
    return stored_config({**stored, **overrides})


def _write(run_directory: Path, server_round: int, results: Mapping[str, Realigned]) -> None:
    rows = [
        {"inference": form, "client_id": client_id, **metrics}
        for form, result in results.items()
        for client_id, metrics in result.clients.items()
    ]
    table = io.StringIO()
    writer = csv.DictWriter(
        table, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(run_directory / "realignment.csv", table.getvalue().encode())
    first = next(iter(results.values()))
    summary = {
        "round": server_round,
        "central": first.central,
        "clients": {form: summarise_evaluations(result.clients) for form, result in results.items()},
    }
    write_atomic(run_directory / "realignment.json", (json.dumps(summary, indent=2) + "\n").encode())


def _add(table: Table, label: str, columns: Mapping[str, float | None], metric: str) -> None:
    found = (columns.get(f"{metric}_{name}") for name in _PERSONAL)
    table.add_row(label, *("" if value is None else f"{value:.2%}" for value in found))


def _print(results: Mapping[str, Realigned]) -> None:
    central = next(iter(results.values())).central
    groups = ["", *(f"_{name}" for name in GROUPS if f"test_accuracy_{name}" in central)]
    table = Table("global model", *(group.strip("_") or "test accuracy" for group in groups))
    for head in ("", *HEADS):
        suffix = f"_{head}" if head else ""
        values = (central[f"test_accuracy{group}{suffix}"] for group in groups)
        table.add_row(head.replace("_", " ") or "fixed head", *(f"{value:.2%}" for value in values))
    personal = Table("inference", *(f"{name.replace('_', ' ')}" for name in _PERSONAL))
    for form, result in results.items():
        columns = summarise_evaluations(result.clients)
        _add(personal, form, columns, "personal_accuracy")
    if "personal_fine_tuned_accuracy" in columns:  # of all forms the same
        _add(personal, "global head, fine-tuned, + local head", columns, "personal_fine_tuned_accuracy")
    console = make_console()
    console.print(table)
    console.print(personal)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    parser = Parser(prog="python -m runtimes.realign", description=__doc__, allow_abbrev=False)
    parser.add_argument("run_directory", help="a run of FedLoGe with a checkpoint")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one key")

    def command() -> int:
        options = parser.parse_args(arguments)
        return realign(expanded(options.run_directory, "the command line"), options.set)

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
