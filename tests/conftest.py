import gc
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from clients.app import app
from clients.registry import load_method
from common.config import Config
from common.config_values import merge
from common.sections import Value
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile all sources again
os.environ.pop("COLUMNS", None)  # tables have the width of a file, whatever terminal started the tests
torch.set_num_threads(1)
# Examples may take as long as a busy machine makes them; fixtures that they share are never written to.
settings.register_profile(
    "shared machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("shared machine")
# The checks that several methods share report the values that they compare.
pytest.register_assert_rewrite("tests.methods")
warnings.filterwarnings("ignore", message="Tip: In future versions of Ray")


def pytest_configure() -> None:
    """Let the processes that tests start have the usual signals where nohup or a script's ``&`` ignores some.

    Those that are ignored are inherited, those that a function handles are not.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, lambda _number, _frame: None)


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run the tests: more than there are cores, since many tests wait."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + (cores + 1) // 2, 12)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have the most slow tests, then the most tests: none is left at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    all_of_it = Counter(item.path for item in items)
    items.sort(key=lambda item: (-slow[item.path], -all_of_it[item.path]))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no CUDA here"))


def pytest_collection_finish() -> None:
    """Keep torch, Flower and thousands of tests out of the collector's rounds, which takes half a second."""
    gc.collect()
    gc.freeze()


# Small, and with everything that must not depend on order or process: dropout, augmentation, a schedule.
# The model is a small perceptron, since tests train hundreds of them.
SMALL_RUN: dict[str, Value] = {
    "rounds": 3,
    "clients.count": 6,
    "clients.fraction": 0.5,
    "local.epochs": 1,
    "local.batch-size": 64,
    "schedule.name": "step",
    "schedule.step-rounds": 2,
    "augmentation.name": "crop-flip",
    "augmentation.padding": 1,
    "checkpoint.every": 2,
    "model.name": "mlp",
    "model.hidden": 32,
    "model.dropout": 0.25,
}

Runner = Callable[..., Path]


def small_config(run_directory: Path | str = "", **overrides: Value) -> Config:
    """Build the configuration of a small run; overrides spell ``__`` for a dot and ``_`` for a dash."""
    layer = {key.replace("__", ".").replace("_", "-"): value for key, value in overrides.items()}
    return Config.from_flat(merge(small_run(layer), layer, {"run.directory": str(run_directory)}))


def small_run(layer: Iterable[str]) -> dict[str, Value]:
    """Return `SMALL_RUN` without the parameters of what `layer` chooses otherwise."""
    names = ("schedule.name", "augmentation.name", "model.name")
    chosen = [key.partition(".")[0] for key in layer if key in names]
    return {key: value for key, value in SMALL_RUN.items() if key.partition(".")[0] not in chosen}


# Parameters without a default.
REQUIRED: dict[str, dict[str, Value]] = {"flwr:QFedAvg": {"client-learning-rate": 0.1}}


def example_of(method: str) -> dict[str, Value]:
    """Return the keys of a small run that shows a method."""
    return {
        key.replace(".", "__").replace("-", "_"): value
        for key, value in load_method(method, REQUIRED.get(method, {})).example.items()
    }


# A small model with two sub-models, one of which has a block less.
SIZES = example_of("heteroavg")


def model_for(method: str) -> dict[str, Value]:
    """Return of them the keys of a model for a method that does not work with every one."""
    return {key: value for key, value in example_of(method).items() if not key.startswith("method__")}


@pytest.fixture
def run_small(tmp_path: Path) -> Runner:
    """Run a small experiment in this process; a Grid can be given, and a name of the run directory."""

    def run(name: str = "run", grid_class: type[SequentialGrid] = SequentialGrid, **overrides: Value) -> Path:
        config = small_config(tmp_path / name, **overrides)
        grid = grid_class(app, config.clients.count, config.flat())
        return run_experiment(config, grid, PlainLines())

    return run


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the plots and the report of a run that ends, which take longer than the runs of tests."""
    monkeypatch.setattr("analysis.report.write_plots", lambda run_directory: [])
    monkeypatch.setattr("analysis.comparison.report.write_page", lambda directory: None)


@pytest.fixture
def few_objects() -> None:
    """Let ``gc.collect`` look only at what the test makes."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Have every test draw the same from torch's global generator, whatever ran before it in this process."""
    torch.manual_seed(20_261_201)  # which no test has for a generator of its own


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Leave out what only a power cut would show, for all that this process writes: dozens of times a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which still needs an open file
        yield


@pytest.fixture(autouse=True, scope="session")
def _user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what runs leave in the user's cache out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWERBED_CACHE", str(tmp_path_factory.mktemp("user-cache")))
        yield
