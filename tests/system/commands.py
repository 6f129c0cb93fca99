"""Runs the program as a person does: as a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from clients.app import app
from common.defaults import PROJECT_ROOT
from run_simulation import parse_arguments
from runtimes.launch import read_configuration
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import small_run


def command(run_directory: Path, *arguments: str, **overrides: object) -> list[str]:
    """Return the command line of a small run."""
    given = {key.replace("__", "."): value for key, value in overrides.items()}
    settings = {**small_run(given), **given}
    assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "run_simulation.py", "--run-dir", str(run_directory), *assignments, *arguments]


def start(arguments: list[str], own_session: bool = False) -> subprocess.Popen[str]:
    """Start a command in the project's folder, if asked for as a terminal of its own would."""
    return subprocess.Popen(
        arguments,
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=own_session,
    )


def run(arguments: list[str]) -> tuple[int, str]:
    """Run a command to its end; return exit code and output."""
    process = start(arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def run_here(*arguments: str) -> dict[str, Any]:
    """Run what a command line configures in this process, without its plots; return the summary."""
    config = read_configuration(parse_arguments(arguments))
    grid = SequentialGrid(app, config.clients.count, config.flat())
    return summary(run_experiment(config, grid, PlainLines()))


def summary(run_directory: Path) -> dict[str, Any]:
    """Read a finished run's summary."""
    content: dict[str, Any] = json.loads((run_directory / "summary.json").read_text())
    return content
