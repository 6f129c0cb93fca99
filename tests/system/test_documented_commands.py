"""The commands of README and docs work as they stand: on small data, and sweeps as far as their plan."""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import run_simulation
from analysis.__main__ import main as analyse
from analysis.live.watch import Server
from common.command_line import guarded
from common.defaults import PROJECT_ROOT
from datasets.images import loading
from datasets.images.decoding import DecodedDataset
from datasets.images.sources import Source
from runtimes.describe.keys import fields
from runtimes.describe.things import kinds, things
from runtimes.queue.__main__ import main as queue

PAGES = sorted(
    {PROJECT_ROOT / "README.md", PROJECT_ROOT / "experiments" / "README.md"}
    | {*(PROJECT_ROOT / "docs").rglob("*.md")} - {PROJECT_ROOT / "docs" / "extending.md"}  # test_extending.py
)
# Modules whose commands start other processes or take long, with the tests that run them.
TESTED_ELSEWHERE = {
    "pip": ".ci/run",
    "pytest": ".ci/run",
    "runtimes.federation": "tests/runtimes/test_federation_stop.py",
    "runtimes.credentials": "tests/runtimes/credentials",
    "runtimes.superlink": "tests/runtimes/credentials",
    "runtimes.node": "tests/runtimes/credentials",
    "runtimes.status": "tests/runtimes/test_status.py",
    "runtimes.stop_superlink": "tests/runtimes/test_stop_superlink.py",
    "runtimes.describe.pages": "tests/runtimes/describe/test_pages.py",
    "runtimes.describe.traffic": "tests/runtimes/describe/test_traffic.py",
    "benchmarks": "tests/benchmarks",
    "studies": "tests/studies",
    "tests": "tests",
}
SMALL = ("rounds=1", "clients.count=4", "clients.fraction=0.5", "local.steps=1", "evaluate.every=1")
READ = loading._read
TRACKERS = ("tensorboard", "wandb", "mlflow")
NEEDS_OTHER_MACHINES = re.compile(r"^(runtime\.name|ray\.|resources\.)")


@dataclass(frozen=True)
class Command:
    """A command of a page: ``python``'s arguments."""

    page: str
    arguments: tuple[str, ...]

    @property
    def module(self) -> str:
        return self.arguments[1] if self.arguments[0] == "-m" else self.arguments[0]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.arguments)}"


def commands() -> Iterator[Command]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for language, block in re.findall(r"^ *```(.*?)\n(.*?)^ *```", text, flags=re.M | re.S):
            if language not in {"bash", "sh", ""}:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split(" && "):
                    if found := re.match(r"(?:\.venv/bin/)?python (.*)", part.strip()):
                        words = shlex.split(found[1], comments=True)
                        yield Command(str(page.relative_to(PROJECT_ROOT)), tuple(words))


COMMANDS = list(commands())
HERE = [
    command
    for command in COMMANDS
    if not any(command.module == name or command.module.startswith(f"{name}.") for name in TESTED_ELSEWHERE)
    and "--onnx" not in command.arguments  # half a minute: tests/runtimes/prediction/test_predict.py
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that commands find wherever they name one."""
    path = tmp_path_factory.mktemp("finished") / "run"
    pairs = (*SMALL, "method.name=fedper", "dataset.feature-noise=0.1", "clock.seconds-per-step=0.01")
    overrides = [part for pair in pairs for part in ("--set", pair)]
    assert run_simulation.main([*overrides, "--run-dir", str(path)]) == 0
    return path


def run_of_table(folder: Path) -> Path:
    """Make a run the inputs of which are rows of ``new-rows.csv``."""
    rows = "size,label\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(40))
    for name in ("train", "test", "new-rows"):
        (folder / f"{name}.csv").write_text(rows)
    pairs = (*SMALL, "dataset.name=csv", "dataset.label=label", f"dataset.root={folder}", "model.name=linear")
    overrides = [part for pair in (*pairs, "partition.name=iid") for part in ("--set", pair)]
    assert run_simulation.main([*overrides, "--run-dir", str(folder / "table")]) == 0
    return folder / "table"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "experiments").symlink_to(PROJECT_ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_read", few_images)
    monkeypatch.setattr(Server, "serve_forever", lambda self: None)
    return tmp_path


def few_images(source: Source, name: str, *options: Any) -> DecodedDataset:
    """Return random images instead of CIFAR's."""
    if not name.startswith("cifar"):
        return READ(source, name, *options)
    num_classes = int(name.removeprefix("cifar"))
    targets = np.repeat(np.arange(num_classes), 10)
    inputs = np.random.default_rng(0).integers(0, 256, (len(targets), 3, 32, 32), dtype=np.uint8)
    names = tuple(map(str, range(num_classes)))
    return DecodedDataset(inputs, targets, inputs, targets, names, (0.5,) * 3, (0.25,) * 3)


def test_there_are_commands_and_every_exception_has_its_tests() -> None:
    assert len(COMMANDS) > 40
    assert {command.page for command in COMMANDS} >= {"README.md", "docs/results.md", "docs/queue.md"}
    assert "runtimes.status" in {command.module for command in COMMANDS}  # after a block of TOML
    for place in TESTED_ELSEWHERE.values():
        assert (PROJECT_ROOT / place).exists(), place


@pytest.mark.parametrize("command", dict.fromkeys(HERE), ids=str)
def test_a_command(command: Command, folder: Path, finished: Path, request: pytest.FixtureRequest) -> None:
    if command.module == "run_simulation.py" and command.page != "README.md":
        request.getfixturevalue("no_pictures")  # those of README are drawn
    run = {"run_simulation.py": simulate, "analysis": analysis, "runtimes.queue": status}[command.module]
    assert run(command, folder, finished) == 0


def simulate(command: Command, folder: Path, finished: Path) -> int:
    arguments = list(command.arguments[1:])
    files = [folder / argument for argument in arguments if argument.startswith("experiments/")]
    if files and re.search(r"^\[(axes|search)", files[0].read_text(), re.M):
        return run_simulation.main([*arguments, "--list"])
    if "--resume" in arguments:
        directory = folder / arguments[arguments.index("--run-dir") + 1]
        shutil.copytree(finished, directory)
        extended = ["rounds=2" if argument.startswith("rounds=") else argument for argument in arguments]
        return run_simulation.main(extended)
    for option in [a for a in arguments if a == "--runtime" or NEEDS_OTHER_MACHINES.match(a)]:
        place = arguments.index(option)
        start = place if option == "--runtime" else place - 1
        del arguments[start : start + 2]
    if missing := [name for name in TRACKERS if f"tracking={name}" in arguments and not find_spec(name)]:
        pytest.skip(f"the extra '{missing[0]}' is not installed")
    given = {argument.partition("=")[0] for argument in arguments}
    small = [pair for pair in SMALL if pair.partition("=")[0] not in given - {"rounds", "clients.count"}]
    overrides = [part for pair in small for part in ("--set", pair)]
    if "--describe" in arguments:
        overrides = []
    return run_simulation.main([*arguments, *overrides])


def analysis(command: Command, folder: Path, finished: Path) -> int:
    arguments = list(command.arguments[2:])
    run = run_of_table(folder) if "new-rows.csv" in arguments else finished
    if "--round" in arguments:
        arguments[arguments.index("--round") + 1] = "1"  # the one that the run has
    for argument in arguments:
        if argument.startswith("runs/"):
            shutil.copytree(run, folder / argument, dirs_exist_ok=True)
        if argument.endswith((".png", ".jpg")) and arguments[arguments.index(argument) - 1] != "--out":
            Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(folder / argument)
        if argument.startswith("folder-"):
            (folder / argument).mkdir()
            Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(folder / argument / "a.png")
    return guarded(lambda: analyse(arguments))


def status(command: Command, folder: Path, finished: Path) -> int:
    arguments = [argument for argument in command.arguments[2:] if argument != "--status"]
    return queue([*arguments, "--status"])


def keys_of_papers() -> set[str]:
    text = (PROJECT_ROOT / "docs" / "tutorials" / "papers.md").read_text(encoding="utf-8")
    cells = [line.split("|")[2] for line in text.splitlines() if line.startswith("| ")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def test_every_key_that_replaces_a_papers_flag_exists() -> None:
    keys = keys_of_papers()
    assert len(keys) > 50
    others = keys - set(fields())
    assert others <= {
        f"{section}.{name.replace('_', '-')}"
        for section in {key.partition(".")[0] for key in others}
        for owner in kinds()[section]
        if "<" not in owner
        for thing in things(owner, section)
        for name in thing.parameters
    }
