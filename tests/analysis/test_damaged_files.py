"""Files of a run that analyses read: cut, changed, empty, of another kind; a result or one line."""

import contextlib
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from clients.app import app
from common.command_line import guarded
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import small_config

READERS = {
    "metrics.csv": ("curves", "costs", "compare"),
    "clients.csv": ("participation",),
    "label_distribution.csv": ("label-distribution",),
    "summary.json": ("compare",),
    "model.safetensors": ("filters",),
    "similarity/round-000001.csv": ("similarity",),
    "updates/round-000001.safetensors": ("updates",),
    "features/round-000001.safetensors": ("feature-degeneration",),
    "feature_noise.npz": ("noisy-images",),
    "heads.csv": ("head-accuracy",),
    "neural_collapse.csv": ("neural-collapse",),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    config = small_config(
        path,
        rounds=1,
        model__name="small-cnn",
        dataset__feature_noise=0.1,
        analysis__update_rounds="1",
        analysis__similarity_rounds="1",
        analysis__feature_rounds="1",
    )
    return run_experiment(config, SequentialGrid(app, config.clients.count, config.flat()), PlainLines())


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 4)


def words(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"1", b"x").replace(b"0", b"y"))


def another(path: Path) -> None:
    path.write_text("[4]")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: tuple[Callable[[Path], None], ...] = (Path.unlink, empty, half, noise, words, another, pipe)


@pytest.mark.parametrize("name", READERS)
def test_a_command_ends_with_a_result_or_one_line(
    whole: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in READERS[name]:
        run(command, whole, tmp_path)
        capsys.readouterr()
        for damage in DAMAGES:
            if (name, damage) == ("summary.json", Path.unlink):
                continue  # a run without it has not finished, and is shown as far as it is
            copy = tmp_path / "run"
            shutil.copytree(whole, copy)
            damage(copy / name)
            code = run(command, copy, tmp_path)
            error = capsys.readouterr().err
            assert code in (0, 2), (command, damage.__name__)
            assert error.count("\n") == (1 if code else 0), (command, damage.__name__, error)
            if damage in (Path.unlink, empty, noise, pipe):
                assert code == 2, (command, damage.__name__)
            shutil.rmtree(copy)


def run(command: str, directory: Path, folder: Path) -> int:
    options = [str(directory)]
    with warnings.catch_warnings(), contextlib.chdir(folder):
        warnings.simplefilter("error")
        return guarded(lambda: main([command, *options]))
