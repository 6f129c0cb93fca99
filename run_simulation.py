#!/usr/bin/env python
"""Run one federated experiment, or a sweep of them, in this process or on Ray.

python run_simulation.py [EXPERIMENT.toml] [--set key=value ...] [--runtime sequential|threads|ray]
                         [--plugins DIR] [--run-dir DIR] [--resume] [--comparators] [--rounds-scale FACTOR]
                         [--profile]
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, end_as_by_ctrl_c, leave_closed_pipe, show_warnings_as_lines
from common.errors import ClientFailureError, UserError, print_error
from common.files import expanded
from common.imports import importing
from common.plugin_modules import failure_of_plugin

if TYPE_CHECKING:
    import pandas as pd

_COMMANDS = ("realign", "replay")
_COMMON_KEYS = """keys for --set and experiment files, the common ones:
  method.name, method.PARAMETER         the training method; default fedavg
  dataset.name, dataset.root            the data set, and the folder of its files
  partition.name, partition.PARAMETER   how the data are split over the clients
  model.name, model.PARAMETER           the architecture
  clients.count, clients.fraction       number of clients, and the fraction that trains in a round
  rounds, seed                          number of rounds, and the seed of all randomness
  local.epochs or local.steps           length of local training in a round; also local.batch-size
  optimizer.name, optimizer.learning-rate
  evaluate.every                        number of rounds between evaluations
  runtime.workers, device               number of threads or processes of --runtime; cpu or cuda

--describe lists all choices, --describe KEY explains a key; docs/keys.md has all keys."""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        description="Run one federated experiment, or a sweep of them.",
        epilog=_COMMON_KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="?", type=_path, help="TOML file of overrides (see experiments/)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one key; repeatable"
    )
    parser.add_argument(
        "--plugins", action="append", default=[], metavar="DIR", help="folder of your own code; repeatable"
    )
    parser.add_argument(
        "--runtime", choices=["sequential", "threads", "ray"], help="short for --set runtime.name=..."
    )
    parser.add_argument(
        "--run-dir", metavar="DIR", type=_run_directory, help="run directory (default: a new one below runs/)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="resume from --run-dir's last checkpoint, if any"
    )
    parser.add_argument(
        "--profile", action="store_true", help="trace the second round, and show what took longest in it"
    )
    parser.add_argument(
        "--rounds-scale",
        metavar="FACTOR",
        type=float,
        help="multiply the number of rounds by FACTOR, e.g. 0.1",
    )
    parser.add_argument("--seeds", metavar="SEED[,SEED]", help="run everything once with each of these seeds")
    comparators = parser.add_mutually_exclusive_group()
    comparators.add_argument(
        "--comparators",
        action="store_true",
        help="also run its upper and lower bound: centralized and local-only training",
    )
    comparators.add_argument(
        "--comparator", metavar="NAME", help="run only this bound: centralized or local-only"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="LABEL[,...]",
        help="only the runs of a sweep with these labels (--list shows them); repeatable",
    )
    parser.add_argument("--list", action="store_true", help="list the runs of a sweep, and run nothing")
    parser.add_argument(
        "--describe",
        nargs="*",
        metavar="NAME",
        help="list all choices, or explain a key, a method or another name",
    )
    parser.add_argument("--schema", action="store_true", help="print a JSON schema of experiment files")
    for name in _COMMANDS:
        parser.add_argument(f"--{name}", nargs="?", const="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.arguments = list(sys.argv[1:] if arguments is None else arguments)
    return options


def _path(text: str) -> Path:
    return expanded(text, "the command line")


def _run_directory(text: str) -> str:
    return str(_path(text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 finished, 1 failed, 2 invalid input, 130 stopped and resumable."""
    try:
        return _run(parse_arguments(arguments))
    except UserError as error:
        print_error(error)
        return 2
    except ClientFailureError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError as error:
        leave_closed_pipe()
        print(f"error: {_with_notes(error, 'the output was closed by its reader')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {_with_notes(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(_with_notes(error, "stopped"), file=sys.stderr)
        return 130
    except Exception as error:
        if not (failure := failure_of_plugin(error)):
            raise
        print_error(UserError(_with_notes(error, failure)))
        return 2


def run(directory: str | PathLike[str], keys: Mapping[str, object], *options: str) -> "pd.DataFrame":
    """Run from Python, for scripts and notebooks.

    Parameters
    ----------
    directory : path-like
        The run directory. A run that is there already is resumed, or left alone if it is finished.
    keys : mapping
        Key → text, number, truth value or path, as for ``--set``.
    *options : str
        Further arguments of the command line, such as an experiment file, or ``"--plugins", "mine"``.

    Returns
    -------
    pandas.DataFrame
        ``metrics.csv``, a row per round; of a sweep ``table.csv``, a row per run.

    Raises
    ------
    UserError, ClientFailureError
        With the text of the command line's error.
    """
    path = Path(directory)
    resume = ["--resume"] if path.is_dir() and any(path.iterdir()) else []
    settings = [part for key, value in keys.items() for part in ("--set", f"{key}={_as_toml(value)}")]
    if _run(parse_arguments([*options, *settings, "--run-dir", str(path), *resume])):
        raise UserError("a run has failed: the lines above name it")

    import pandas as pd

    from analysis.reading.run_directory import read_metrics

    return pd.read_csv(path / "table.csv") if (path / "table.csv").exists() else read_metrics(path)


def _as_toml(value: object) -> str:
    value = value.item() if hasattr(value, "item") else value  # of NumPy and torch
    return json.dumps(str(value) if isinstance(value, PathLike) else value, ensure_ascii=False)


def _run(options: argparse.Namespace) -> int:
    for name in _COMMANDS:
        if directory := getattr(options, name):
            raise UserError(f"--{name} is a separate command: python -m runtimes.{name} {directory}")
    if options.describe is not None or options.schema:
        return _explain(options)
    with importing("runtimes.launch"):
        from runtimes.launch import launch

    return launch(options)


def _explain(options: argparse.Namespace) -> int:
    from common.plugins import all_folders
    from runtimes.describe import describe, json_schema

    all_folders(",".join(options.plugins))
    print(json.dumps(json_schema(), indent=1) if options.schema else describe(options.describe))
    return 0


def _with_notes(error: BaseException, text: str = "") -> str:
    """Return the message of an error and the notes attached to it, such as how to resume."""
    return "; ".join([text or str(error), *getattr(error, "__notes__", [])])


if __name__ == "__main__":
    show_warnings_as_lines()
    end_as_by_ctrl_c()
    sys.exit(main())
