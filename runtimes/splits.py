"""Show how experiment files or runs split the data over clients, without any training."""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.plots.label_distribution import plot_side_by_side
from analysis.reading.selection import begun_runs, matching
from analysis.style import check_picture_file
from analysis.tables import check_table_file, print_table, write_table
from common.command_line import Parser
from common.config import Config
from common.errors import UserError
from common.experiment import Experiment, LabelFilter
from common.experiment_file import parse_experiment
from common.files import expanded, read_text
from common.plugins import use_folders
from datasets.configured import open_dataset
from datasets.partition_report import label_counts
from datasets.partition_scheme import partition_clients
from runtimes.command import exit_code
from runtimes.sweep_plan import PlannedRun, parse_seeds, plan
from server.checkpoints.stored_config import find_stored_config, stored_config

Splits = dict[str, pd.DataFrame]
_HEADER = ["split", "clients", "samples", "smallest", "median", "largest", "labels of a client", "distance"]
_MAX_DRAWN = 40  # splits drawn


def label_table(config: Config) -> pd.DataFrame:
    """Return the number of training samples per client (rows) and class (columns) of a configuration.

    Raises
    ------
    UserError
        If the data are missing, or are on the clients' nodes.
    """
    if config.partition.name == "node":
        raise UserError("the clients' data are on their nodes (partition.name = 'node')")
    use_folders(config.plugins)
    dataset = open_dataset(config)
    if not dataset.num_classes:
        raise UserError(f"the targets of '{dataset.name}' are numbers: there is no distribution by class")
    counts = label_counts(
        dataset.train.targets.numpy(), partition_clients(config, dataset), dataset.num_classes
    )
    return pd.DataFrame(counts, columns=list(dataset.class_names)).rename_axis(index="client_id")


def splits_of(configurations: Iterator[tuple[str, Config]]) -> Splits:
    """Return name → table, each distinct split once, under the names of all that share it.

    Raises
    ------
    UserError
        If none has a split; with several, those without are left out with a warning.
    """
    names: dict[str, list[str]] = {}
    tables: dict[str, pd.DataFrame] = {}
    failed: list[str] = []
    for name, config in configurations:
        try:
            table = label_table(config)
        except UserError as error:
            failed.append(f"{name}: {error}")
            continue
        key = hashlib.sha256(
            repr(list(table.columns)).encode() + table.to_numpy(np.int64).tobytes()
        ).hexdigest()
        names.setdefault(key, []).append(name)
        tables[key] = table
    if not tables:
        raise UserError(failed[0] if failed else "there is no split to show")
    for reason in failed:
        warnings.warn(f"left out: {reason}", stacklevel=2)
    return {_together(names[key]): table for key, table in tables.items()}


def describe(splits: Splits) -> list[list[str]]:
    """Return a row per split; distance is the mean total variation from the pooled label distribution."""
    rows = []
    for name, table in splits.items():
        counts = table.to_numpy(dtype=np.float64)
        sizes = counts.sum(axis=1)
        held = counts[sizes > 0]
        shares = held / held.sum(axis=1, keepdims=True)
        distance = 0.5 * np.abs(shares - counts.sum(axis=0) / counts.sum()).sum(axis=1).mean()
        row = [
            len(table),
            sizes.sum(),
            sizes.min(),
            np.median(sizes),
            sizes.max(),
            (held > 0).sum(axis=1).mean(),
        ]
        rows.append([name, *(f"{value:g}" for value in row), f"{distance:.3f}"])
    return rows


def _configurations(options: argparse.Namespace) -> Iterator[tuple[str, Config]]:
    given = [expanded(place, "the command line") for place in options.configurations]
    places: list[Path | None] = [*matching(given)] or [None]
    for path in places:
        prefix = f"{path.stem}: " if path and len(places) > 1 else ""
        if path and path.is_dir():
            if options.only or options.set or options.seeds is not None:
                raise UserError(f"{path} is a run: --set, --only and --seeds are for experiment files")
            yield from _stored(path, is_only=len(places) == 1)
            continue
        experiment = parse_experiment(read_text(path, "experiment"), str(path)) if path else Experiment()
        if options.seeds is not None:
            experiment = experiment.with_seeds(parse_seeds(options.seeds))
        selection = LabelFilter(options.only, experiment.axes)
        for item in _planned(experiment, options, selection):
            if item.point in selection:
                yield f"{prefix}{item.name}" if item.name else (path.stem if path else "split"), item.config


def _stored(directory: Path, is_only: bool) -> Iterator[tuple[str, Config]]:
    """Yield the configurations of a run, or of the runs of a sweep or a folder; warn of those without."""
    try:
        runs = [directory] if find_stored_config(directory) else begun_runs([directory])
    except UserError as error:
        if is_only:
            raise
        warnings.warn(f"left out: {directory}: {error}", stacklevel=2)
        return
    for run in runs:
        try:
            found = find_stored_config(run)
            if found is None:
                raise UserError("it has no configuration")
            config = stored_config(found.values)
        except UserError as error:
            if is_only and runs == [directory]:
                raise
            warnings.warn(f"left out: {run}: {error}", stacklevel=2)
        else:
            yield run.resolve().name if run == directory else str(run.relative_to(directory)), config


def _planned(experiment: Experiment, options: argparse.Namespace, selection: LabelFilter) -> list[PlannedRun]:
    try:
        return plan(experiment, _plain(options), Path(), selection)
    except UserError as error:  # without axes the run has no name
        raise UserError(str(error).removeprefix("run '': ")) from None


def _plain(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options of a run's command line that determine the split."""
    return argparse.Namespace(
        set=options.set,
        plugins=options.plugins,
        runtime="",
        resume=False,
        profile=False,
        rounds_scale=None,
        comparator="",
    )


def _together(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} with the same split)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, draw the picture and return the exit code."""
    parser = Parser(prog="python -m analysis splits", description=__doc__)
    parser.add_argument(
        "configurations", metavar="FILE_OR_RUN", nargs="*", help="experiment files, or runs, sweeps, patterns"
    )
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help="override one key")
    parser.add_argument("--only", action="append", default=[], metavar="LABEL[,...]", help="only these runs")
    parser.add_argument("--seeds", metavar="SEED[,SEED]", help="show the splits of these seeds")
    parser.add_argument(
        "--plugins", metavar="DIR", action="append", default=[], help="folder of your own code"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="file of the picture (default: splits.png)")
    parser.add_argument("--table", metavar="FILE", type=Path, help="also write the table (.csv, .md, .tex)")

    def command() -> int:
        options = parser.parse_args(arguments)
        check_picture_file(options.out)
        check_table_file(options.table)
        splits = splits_of(_configurations(options))
        rows = describe(splits)
        print_table(_HEADER, rows)
        if options.table:
            print(write_table(options.table, _HEADER, rows))
        if len(splits) > _MAX_DRAWN:
            print(f"the first {_MAX_DRAWN} of {len(splits)} splits are drawn", file=sys.stderr)
        print(plot_side_by_side(dict(list(splits.items())[:_MAX_DRAWN]), options.out or Path("splits.png")))
        return 0

    return exit_code(command)


if __name__ == "__main__":
    sys.exit(main())
