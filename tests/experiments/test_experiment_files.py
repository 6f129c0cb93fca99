"""Every run of every experiment file is prepared as far as its first round, on blank data of real size."""

import argparse
import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import run_simulation
from clients.app import app
from common.config import Config
from common.config_values import merge
from common.defaults import PROJECT_ROOT
from common.errors import UserError, unknown_name
from common.experiment import Experiment, LabelFilter, Point
from common.experiment_file import parse_experiment
from common.sections import Value
from datasets import configured
from datasets.dataset import Dataset, Split
from datasets.noise import feature_noise_of_clients as noisy_clients
from runtimes.queue.file import read_queue_file
from runtimes.queue.runs import runs_of
from runtimes.sequential import SequentialGrid
from runtimes.sweep_plan import PlannedRun, add_axes, plan
from server.preparation import make_parts

QUEUES = sorted((PROJECT_ROOT / "experiments" / "queues").glob("*.toml"))
FILES = sorted({*(PROJECT_ROOT / "experiments").rglob("*.toml")} - {*QUEUES})
# Names that an experiment may use before they exist; an empty set is what this should come to.
ALLOWED_MISSING: set[str] = set()
# name → (training samples, classes, shape of an input)
DATA = {
    "cifar10": (50_000, 10, (3, 32, 32)),
    "cifar100": (50_000, 100, (3, 32, 32)),
    "cinic10": (90_000, 10, (3, 32, 32)),
    "fashion-mnist": (60_000, 10, (1, 32, 32)),
    "mnist": (60_000, 10, (1, 28, 28)),
    "svhn": (73_257, 10, (3, 32, 32)),
    "image-folder": (1_281_167, 1000, (3, 224, 224)),
    "digits": (1_437, 10, (1, 8, 8)),
    "shakespeare": (200_000, 80, (80,)),
}
# Of files whose runs differ in these alone, all but one are checked by their first run: it takes time.
DATA_NUMBERS = ("partition.alpha", "dataset.imbalance-factor")
LARGE_TABLE = 80
_PREPARED: set[frozenset[Any]] = set()
# Sizes of the models do not matter here, and some take seconds to build.
WIDTHS: dict[str, dict[str, Value]] = {"inco": {"model.width": 8}, "fedloge": {"model.width": 16}}
LOCAL_STEPS = {"b3-participation": 80_000, "b4-heterogeneity": 80_000, "b5-shakespeare": 8_000}


def blank_data(name: str, *, validation_fraction: float = 0.0, **options: Any) -> Dataset:
    """Stand in for ``load_dataset``: as many samples of every class, and no memory for the inputs."""
    if name not in DATA or (name == "shakespeare" and not importlib.util.find_spec("datasets.shakespeare")):
        raise unknown_name("dataset.name", name, DATA)
    size, classes, shape = DATA[name]
    size = round(size * (1 - validation_fraction))
    inputs = torch.zeros((1, *shape), dtype=torch.uint8).expand(size, *shape)
    split = Split(inputs, torch.arange(size) % classes)
    if name == "shakespeare":
        split = replace(split, clients=torch.arange(size) % 100)
    names = tuple(str(label) for label in range(classes))
    channels = (0.5,) * (shape[0] if len(shape) == 3 else 0)
    kind = "images" if len(shape) == 3 else "tokens"
    held_out = split if validation_fraction else None
    return Dataset(name, split, held_out, split, classes, names, channels, channels, kind=kind)


@pytest.fixture(autouse=True)
def _blank_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(configured, "load_dataset", blank_data)
    monkeypatch.setattr(noisy_clients, "add_feature_noise", lambda inputs, *noise: inputs)
    for name in ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_"):  # of some twenty million weights
        monkeypatch.setattr(torch.nn.init, name, lambda weights, *_, **__: weights.data.zero_())
    configured._open.cache_clear()
    yield
    configured._open.cache_clear()


def read(file: Path) -> Experiment:
    return parse_experiment(file.read_text(encoding="utf-8"), file.name)


def options(*arguments: str) -> argparse.Namespace:
    return run_simulation.parse_arguments(["--set", "device=cpu", *arguments])


def planned(file: Path) -> list[PlannedRun]:
    return plan(read(file), options(), Path("runs"))


def covering(experiment: Experiment) -> list[Point]:
    """Return combinations in which every label comes at least once: in large tables, methods are alike."""
    points, chosen = {point.name: point for point in experiment.points()}, {}
    for number in range(max((len(labels) for labels in experiment.axes.values()), default=1)):
        labels = [list(axis)[number % len(axis)] for axis in experiment.axes.values()]
        chosen[",".join(labels)] = points[",".join(labels)]
    return list(chosen.values())


@pytest.mark.filterwarnings("ignore:partition 'classes'")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_configuration_is_possible(file: Path) -> None:
    experiment = read(file)
    is_large = file.parent.name == "inco" or len(list(experiment.points())) > LARGE_TABLE
    width = WIDTHS.get(file.parent.name, {})
    for index, point in enumerate(covering(experiment) if is_large else experiment.points()):
        alike = frozenset(item for item in point.overrides.items() if item[0] not in DATA_NUMBERS)
        if index > 0 and alike in _PREPARED:
            continue
        _PREPARED.add(alike)
        small = width | ({"model.heads": 2} if point.overrides.get("model.name") == "vit-small" else {})
        try:
            config = Config.from_flat(merge(point.overrides, {"device": "cpu"}, small))
            with SequentialGrid(app, config.clients.count, config.flat()) as grid:
                make_parts(config, grid)
        except UserError as error:
            missing = re.search(r"there is no '([^']+)'", str(error))
            if not (missing and missing[1] in ALLOWED_MISSING):
                raise AssertionError(f"{file.name}, {point.name}: {error}") from None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_two_runs_of_a_file_are_the_same(file: Path) -> None:
    runs = planned(file)
    assert [item.name for item in runs if item.same_as] == []
    assert len({item.name for item in runs}) == len(runs)


@pytest.mark.parametrize("name", LOCAL_STEPS)
def test_runs_of_one_table_have_one_budget(name: str) -> None:
    configs = [item.config for item in planned(PROJECT_ROOT / "experiments" / "course" / f"{name}.toml")]
    assert {c.rounds * c.local.steps * 10 for c in configs} == {LOCAL_STEPS[name]}
    assert {round(c.clients.fraction * c.clients.count) for c in configs} == {10}


def test_local_sgd_processes_as_many_mini_batches_with_any_workers_and_steps() -> None:
    """All workers together: 150 epochs of 45,000 images at batch 64; the last round does what is left."""
    expected = {
        (2, 4): (13200, 4), (2, 8): (6600, 8), (2, 16): (3300, 16), (2, 32): (1650, 32), (2, 64): (825, 64),
        (4, 4): (6600, 4), (4, 8): (3300, 8), (4, 16): (1650, 16), (4, 32): (825, 32), (4, 64): (413, 32),
        (8, 4): (3300, 4), (8, 8): (1650, 8), (8, 16): (825, 16), (8, 32): (413, 16), (8, 64): (207, 16),
    }  # fmt: skip
    runs = planned(PROJECT_ROOT / "experiments" / "course" / "a2-localsgd.toml")
    found = {}
    for item in runs:
        config, course = item.config, item.config.local.step_plan()
        workers, steps = config.clients.count, config.local.steps
        assert item.name == f"k{workers},j{steps}"
        assert workers * config.local.total_steps == 150 * -(-45_000 // config.local.batch_size)
        assert config.rounds == course.num_rounds(config.local.total_steps)
        found[workers, steps] = config.rounds, course.steps(config.rounds)
    assert found == expected
    assert len(runs) == 15


def test_the_table_of_heterogeneity_is_the_published_one() -> None:
    file = PROJECT_ROOT / "experiments" / "course" / "b4-heterogeneity.toml"
    runs = {item.name: item.config for item in planned(file)}
    assert len(runs) == 15
    tuned = {
        name: (c.optimizer.learning_rate, c.optimizer.parameters["weight-decay"]) for name, c in runs.items()
    }
    assert tuned["iid,j4"] == (0.1, 1e-4)
    assert tuned["iid,j16"] == (0.05, 1e-3)
    assert tuned["nc5,j8"] == (0.05, 1e-3)
    assert tuned["nc1,j16"] == (0.01, 1e-3)
    assert all(read(file).published_for(point.labels) for point in read(file).points())


def test_a_tenth_of_the_rounds() -> None:
    file = PROJECT_ROOT / "experiments" / "course" / "b4-heterogeneity.toml"
    runs = plan(read(file), options("--rounds-scale", "0.1"), Path("runs"))
    found = {item.name: (item.config.rounds, item.config.evaluate.every) for item in runs[:3]}
    assert found == {"iid,j4": (200, 50), "iid,j8": (100, 25), "iid,j16": (50, 10)}


def commands(file: Path) -> list[list[str]]:
    """Return the arguments of ``run_simulation.py`` in the comments of a file."""
    comments = [line[1:].strip() for line in file.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    text = "\n".join(comments).replace("\\\n", " ")
    return [shlex.split(found) for found in re.findall(r"python run_simulation\.py ([^`\n]*)", text)]


@pytest.mark.parametrize("file", [file for file in FILES if commands(file)], ids=lambda file: file.stem)
def test_the_commands_in_its_comments_are_possible(file: Path, tmp_path: Path) -> None:
    for arguments in commands(file):
        given = options(*arguments)
        assert PROJECT_ROOT / given.experiment == file
        experiment = add_axes(read(file), given)
        assert plan(experiment, given, tmp_path, LabelFilter(given.only, experiment.axes))


@pytest.mark.parametrize("file", QUEUES, ids=lambda file: file.stem)
def test_every_run_of_a_queue_is_possible(file: Path) -> None:
    runs = runs_of(read_queue_file(file))
    assert len({run.name for run in runs}) == len(runs)
    assert all(not Path(run.entry.experiment).is_absolute() for run in runs)


def test_the_readme_names_every_file() -> None:
    text = (PROJECT_ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    names = [str(file.relative_to(PROJECT_ROOT / "experiments")) for file in (*FILES, *QUEUES)]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("name", "run", "published", "keys"),
    [
        (
            "table2-resnet",
            "incoprox,cifar10,alpha0.5",
            74.5,
            {"method.inco": True, "augmentation.cutout": 16},
        ),
        ("table2-resnet", "heteromoon,fashion-mnist,alpha1.0", 88.3, {"rounds": 100, "local.epochs": 5}),
        ("table2-resnet", "heteronova,svhn,alpha0.5", 84.4, {"dataset.normalization": "half"}),
        ("table2-vit", "incoscaffold,cinic10,alpha1.0", 86.5, {"method.delta-divisor": 5.0, "rounds": 200}),
        ("table3-hetero-splitting", "inco-scalefl,cifar10,alpha0.5", 73.8, {"model.exits": "6,8,10"}),
        ("figure8-ablation", "without-o,alpha1.0", 69, {"method.inco-optimise": False, "method.inco": True}),
    ],
)
def test_tables_of_inco_are_the_published_ones(
    name: str, run: str, published: float, keys: dict[str, Any]
) -> None:
    experiment = read(PROJECT_ROOT / "experiments" / "inco" / f"{name}.toml")
    point = next(point for point in experiment.points() if point.name == run)
    assert experiment.published_for(point.labels) == published
    assert {key: point.overrides[key] for key in keys} == keys
    assert point.overrides["clients.count"] == 100
