"""What ``python -m runtimes.federation`` is to run: its command line, read and checked."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.command_line import Parser, check_slips
from common.config import Config
from common.config_values import expanded as expand_overrides
from common.config_values import merge, parse_toml, read_assignments, settle_budget
from common.defaults import PROJECT_ROOT, flatten
from common.errors import UserError
from common.experiment_file import parse_experiment
from common.files import expanded, read_text
from common.inactive import given_keys
from common.plugins import all_folders
from common.reading import parse_toml_tables
from common.sections import Value
from runtimes.resuming import check_resumable
from server.named_parameters import without_idle_keys
from server.records.run_directory import check_writable


@dataclass(frozen=True)
class Plan:
    """What to run and where: the parsed and checked command line."""

    app: Path
    run_directory: Path
    resume: bool
    overrides: dict[str, Value]
    nodes: int
    data_root: Path | None
    simulation: bool
    insecure: bool
    cpus_per_client: int
    gpus_per_client: float

    @property
    def log_directory(self) -> Path:
        """The folder of the processes' logs."""
        return self.run_directory / "federation"


def read_plan(arguments: Sequence[str] | None, description: str) -> Plan:
    """Read and check the command line, the experiment and the app's defaults before anything starts.

    `description` is what ``--help`` says of the command.
    """
    options = _parser(description).parse_args(arguments)
    app = options.app_dir.resolve()
    defaults = _app_defaults(app)
    if options.resume and options.run_dir is None:
        raise UserError("--resume needs --run-dir, the directory of the run to continue")
    overrides = _overrides(options)
    if app == PROJECT_ROOT:
        if options.resume:
            check_resumable(options.run_dir, options.experiment, read_assignments(options.set))
        overrides = _checked(overrides, options)
    clients = overrides.get("clients.count", defaults.get("clients.count"))
    if not isinstance(clients, int) or clients < 1:
        raise UserError(f"clients.count is {clients!r}; give the number of nodes with --supernodes")
    run_directory = options.run_dir or Path("runs") / time.strftime("federation-%Y%m%d-%H%M%S")
    check_writable(run_directory)
    return Plan(
        app=app,
        run_directory=run_directory.resolve(),
        resume=options.resume,
        overrides=overrides,
        nodes=clients // _clients_per_node(overrides),
        data_root=options.data_root and options.data_root.resolve(),
        simulation=options.simulation,
        insecure=options.insecure,
        cpus_per_client=options.num_cpus,
        gpus_per_client=options.num_gpus,
    )


def _checked(given: dict[str, Value], options: argparse.Namespace) -> dict[str, Value]:
    """Validate the configuration; return its overrides, on top of ``config.toml`` if the run is resumed."""
    stored: dict[str, Value] = {}
    config_file = (options.run_dir or Path()) / "config.toml"
    if options.resume and config_file.is_file():
        stored = parse_toml(read_text(config_file), str(config_file))
    folders: dict[str, Value] = {"plugins": all_folders(given.get("plugins", stored.get("plugins", "")))}
    config = without_idle_keys(Config.from_flat(merge(stored, given, folders)), given_keys(given))
    values = config.flat()
    names = values if stored else {**expand_overrides(given), **folders}
    own = {key for key in names if not key.startswith("run.") and key != "overrides"}
    return {key: value for key, value in values.items() if key in own}


def _overrides(options: argparse.Namespace) -> dict[str, Value]:
    """Apply the command line to the experiment file."""
    overrides: dict[str, Value] = {}
    check_slips(options.experiment, options.set)
    if options.experiment is not None:
        experiment = parse_experiment(read_text(options.experiment), str(options.experiment))
        if experiment.axes:
            raise UserError(
                f"{options.experiment} is a sweep: run it with run_simulation.py,"
                " or give the config.toml of one of its runs"
            )
        overrides |= settle_budget(experiment.overrides)
    overrides |= settle_budget(read_assignments(options.set))
    if options.plugins:
        overrides["plugins"] = ",".join(options.plugins)
    if options.supernodes is not None:
        overrides["clients.count"] = options.supernodes * _clients_per_node(overrides)
    if options.data_root is not None:
        overrides["dataset.root"] = str(options.data_root.resolve())
    return overrides


def _clients_per_node(overrides: dict[str, Value]) -> int:
    value = overrides.get("resources.clients-per-node", 1)
    return (
        value if isinstance(value, int) and value > 0 else 1
    )  # an invalid value is refused with the other keys


def _app_defaults(app: Path) -> dict[str, Value]:
    path = app / "pyproject.toml"
    try:
        tables = parse_toml_tables(read_text(path), str(path))
        return flatten(tables["tool"]["flwr"]["app"].get("config", {}))
    except (LookupError, AttributeError, TypeError):
        raise UserError(f"{path} describes no Flower app: it has no valid [tool.flwr.app]") from None


def _path(text: str) -> Path:
    return expanded(text, "the command line")


def _parser(description: str) -> argparse.ArgumentParser:
    parser = Parser(prog="python -m runtimes.federation", description=description)
    add = parser.add_argument
    add(
        "experiment",
        nargs="?",
        type=_path,
        metavar="EXPERIMENT.toml",
        help="overrides for the app's defaults",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="an override; may be repeated")
    add("--plugins", action="append", default=[], metavar="DIR", help="folder of your own code; repeatable")
    text = "number of nodes: short for --set clients.count=N, times resources.clients-per-node"
    add("--supernodes", type=int, metavar="N", help=text)
    add(
        "--run-dir", metavar="DIR", type=_path, help="folder of the results (default: runs/federation-<time>)"
    )
    add("--resume", action="store_true", help="continue the run in --run-dir from its last checkpoint")
    text = "folder of the data, for the server and the nodes (sets dataset.root)"
    add("--data-root", metavar="DIR", type=_path, help=text)
    add("--simulation", action="store_true", help="simulate the nodes in Ray actors instead of processes")
    text = "no encryption, and any process may take part as a node"
    add("--insecure", action="store_true", help=text)
    text = "with --simulation: CPUs for each client (default: 1)"
    add("--num-cpus", metavar="N", type=int, default=1, help=text)
    text = "with --simulation: GPUs for each client, may be a fraction (default: 0)"
    add("--num-gpus", metavar="N", type=float, default=0.0, help=text)
    text = "folder of the pyproject.toml of another Flower app (default: this project)"
    add("--app-dir", metavar="DIR", type=_path, default=PROJECT_ROOT, help=text)
    return parser
