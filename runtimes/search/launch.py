"""A search from its command line to the runs of its winner; several processes may share it."""

import argparse
import fcntl
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from common.command_line import make_console
from common.config import Config
from common.config_differences import comparable
from common.config_values import to_toml
from common.errors import ClientFailureError, DivergedError, UserError
from common.experiment import Experiment
from common.experiment_file import parse_experiment
from common.files import read_json, read_text, write_atomic
from common.request import write_request
from common.search.trials import (
    SEARCH_FILE,
    State,
    Trial,
    Workers,
    ranked,
    read_trials,
    trial_path,
    write_trial,
)
from common.sweep_files import SWEEP_FILE
from runtimes.run import make_grid, saying_how_to_resume
from runtimes.search.plan import PRUNING, Plan
from runtimes.search.pruning import pruning
from runtimes.search.sampling import Sampling
from runtimes.sweep import check_one, directory_of, launch_sweep
from runtimes.sweep_plan import identity, parse_seeds
from server.experiment import run_experiment
from server.interrupt import StopRequest, stop_between_runs
from server.messages.divergence import is_divergence
from server.records.progress import make_progress
from server.records.run_directory import check_writable

BEST_FILE = "best.toml"
WINNER_FOLDER = "winner"
_SECONDS_BETWEEN_LOOKS = 1.0


def launch_search(experiment: Experiment, options: argparse.Namespace, text: str) -> int:
    """Run a search, or list it; return the exit code. `text` is the content of the experiment file."""
    for option in ("comparators", "comparator", "only"):
        if getattr(options, option):
            raise UserError(f"--{option} is not for a search: leave it out, and give it with {BEST_FILE}")
    console = make_console()
    directory = directory_of(options)
    if (directory / SWEEP_FILE).exists():
        raise UserError(f"{directory} holds a sweep: choose another --run-dir for the search")
    plan = Plan(experiment, options)
    sampling = Sampling(plan.search, lambda values: dict(identity(plan.trial(values)[1])))
    known = sampling.known
    if options.list:
        _print_list(plan, known or sampling.count, directory, console)
        return 0
    check_writable(directory)
    if options.seeds is not None:
        parse_seeds(options.seeds)  # before the search, not after it
    _check_stored(plan, directory)
    values = known[0] if known else {key: space.extremes[0] for key, space in plan.search.keys.items()}
    plan.check_winner(plan.trial(values)[0])
    if not _trials(plan, directory):
        with console.status("checking the first configuration"):
            check_one(plan.trial(values)[1])
    with saying_how_to_resume(directory):
        SearchProcess(plan, sampling, known, directory, options, console).run(text)
        best = _report(plan, directory, console)
        return run_winner(best, directory, options, console) if options.seeds else 0


def _trials(plan: Plan, directory: Path) -> list[Trial]:
    return read_trials(directory, plan.search.objective)


def _check_stored(plan: Plan, directory: Path) -> None:
    """Refuse a directory with another search; only the number of trials may have grown."""
    path = directory / SEARCH_FILE
    if not path.is_file():
        return
    stored, asked = read_json(path), json.loads(json.dumps(_description(plan)))
    if not isinstance(stored, dict):
        raise UserError(f"{path} is damaged: choose another --run-dir")
    for key in asked:
        if key == "trials" and isinstance(stored.get(key), int) and stored[key] <= asked[key]:
            continue
        if asked[key] != stored.get(key):
            old, new = _difference(stored.get(key), asked[key])
            raise UserError(
                f"{directory} holds another search: {key} was {old} and is {new}; choose another --run-dir"
            )


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """Return the difference of two values; for tables, that of the first differing key."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        key = next(key for key in [*new, *old] if old.get(key) != new.get(key))
        return f"{key} = {old.get(key)!r}", f"{key} = {new.get(key)!r}"
    return repr(old), repr(new)


def _description(plan: Plan) -> dict[str, Any]:
    first = {key: space.extremes[0] for key, space in plan.search.keys.items()}
    kept, config = plan.trial(first)
    base = {key: value for key, value in comparable(config).items() if key not in kept}
    return {**plan.search.as_dict(), "base": {**base, "rounds": config.rounds}}


def _print_list(plan: Plan, known: list[dict[str, Any]] | int, directory: Path, console: Console) -> None:
    begun = _trials(plan, directory)
    total = known if isinstance(known, int) else len(known)
    for number in range(total):
        trial = begun[number] if number < len(begun) else None
        values = trial.values if trial else plan.trial(known[number])[0] if isinstance(known, list) else {}
        shown = _shown(values) if values else "not proposed yet"
        state = trial.state if trial else "new"
        console.print(
            f"{trial_path(directory, number).name}  {state}  {shown}", markup=False, highlight=False
        )


def _shown(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


class SearchProcess:
    """One of the processes of a search: runs trials until none is left.

    Parameters
    ----------
    plan : Plan
        Its configurations.
    sampling : Sampling
        Proposes the values.
    known : list
        The values of all trials, if they are fixed in advance.
    directory : Path
        The directory of the search.
    options : argparse.Namespace
        The command line.
    console : Console
        Where to print.
    """

    def __init__(
        self,
        plan: Plan,
        sampling: Sampling,
        known: list[dict[str, Any]],
        directory: Path,
        options: argparse.Namespace,
        console: Console,
    ) -> None:
        self._plan, self._sampling, self._known = plan, sampling, known
        self._directory, self._options, self._console = directory, options, console
        self._count = len(known) or sampling.count

    def run(self, text: str) -> None:
        """Run trials; `text` is the content of the experiment file."""
        self._workers = Workers(self._directory)
        try:
            with self._workers.deciding():
                self._join(text)
            with stop_between_runs() as request:
                while self._step(request):
                    if request.requested:
                        raise KeyboardInterrupt
        finally:
            self._workers.close()

    def _join(self, text: str) -> None:
        is_shared = self._workers.join()
        begun = _trials(self._plan, self._directory)
        left = len(begun) < self._count or any(trial.state == "open" for trial in begun)
        if begun and left and not is_shared and not self._options.resume:
            raise UserError(
                f"{self._directory} holds an unfinished search: resume with --resume or change --run-dir"
            )
        _check_stored(self._plan, self._directory)
        content = json.dumps(_description(self._plan), indent=2) + "\n"
        write_atomic(self._directory / SEARCH_FILE, content.encode())
        write_request(self._directory, text, self._options.arguments)
        if self._options.resume and not is_shared:
            for trial in begun:
                if trial.state == "failed":  # perhaps for a reason other than its values
                    write_trial(self._directory, replace(trial, state="open", remark=""))
        if is_shared:
            self._say("another process works at this search: they share its trials")

    def _step(self, request: StopRequest) -> bool:
        """Run one trial, or wait for the other processes; return False when all are done."""
        with self._workers.deciding():
            trial, is_left = self._take()
        if trial is not None:
            try:
                self._compute(trial)
            finally:
                self._workers.release(trial)
        elif is_left:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return trial is not None or is_left

    def _take(self) -> tuple[Trial | None, bool]:
        """Claim a trial for this process; return it, and whether others are left."""
        begun = _trials(self._plan, self._directory)
        unended = [trial for trial in begun if trial.state == "open"]
        for trial in unended:
            if self._workers.hold(trial):
                return trial, True
        number = len(begun)
        if number >= self._count:
            return None, bool(unended)
        proposed = self._known[number] if self._known else self._sampling.propose(number, begun)
        try:
            values, _ = self._plan.trial(proposed)
        except UserError as error:
            raise UserError(f"trial {number} ({_shown(proposed)}): {error}") from None
        trial = Trial(number, values, trial_path(self._directory, number), proposed=proposed)
        write_trial(self._directory, trial)
        if not self._workers.hold(trial):
            raise UserError(f"{trial.path}: another process has this new trial: choose another --run-dir")
        return trial, True

    def _compute(self, trial: Trial) -> None:
        self._say(f"[{trial.number + 1}/{self._count}] {trial.name}: {_shown(trial.values)}")
        config = self._config(trial)
        try:
            with (
                pruning(self._plan.search, self._directory, trial.number),
                make_grid(config) as grid,
            ):
                run_experiment(config, grid, make_progress())
        except ClientFailureError as error:
            state: State = (
                "diverged" if isinstance(error, DivergedError) or is_divergence(str(error)) else "failed"
            )
            remark = str(error).partition("\n")[0]
            write_trial(self._directory, replace(trial, state=state, remark=remark))
            self._say(f"{trial.name} {state}, the others continue: {remark}")
        except UserError as error:
            raise UserError(f"{trial.name} ({_shown(trial.values)}): {error}") from None

    def _config(self, trial: Trial) -> Config:
        _, config = self._plan.trial(trial.values, directory=str(trial.path))
        changes: dict[str, Any] = {
            "run": config.run.model_copy(update={"resume": (trial.path / "config.toml").exists()})
        }
        if self._plan.search.pruner == "median":
            changes["observers"] = ",".join(filter(None, (config.observers, PRUNING)))
        return config.model_copy(update=changes)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _report(plan: Plan, directory: Path, console: Console) -> Path:
    """Select the winner, write its file, and draw the trials.

    Raises
    ------
    ClientFailureError
        If no trial finished.
    """
    from analysis.comparison.search import write_search_report

    with Workers(directory).deciding():
        trials = _trials(plan, directory)
        best = next(iter(ranked(trials, plan.search.maximize)), None)
        if best is None:
            reasons = [trial.remark for trial in trials if trial.remark]
            raise ClientFailureError(f"none of {len(trials)} trials finished; the first: {reasons[0]}")
        path = directory / BEST_FILE
        comment = (
            f"The winner of a search: {best.name} of {len(trials)}, {plan.search.objective} {best.value:.6g}"
            f" on validation data, with {_shown(best.values)}."
        )
        asked = str(read_json(directory / "request.json").get("comment", ""))
        lines = [f"# {line}".rstrip() for line in [*asked.splitlines(), *([""] if asked else []), comment]]
        head = "\n".join(lines)
        write_atomic(path, f"{head}\n\n{to_toml(plan.winner(best.values))}".encode())
        files = write_search_report(directory, console)
    names = ", ".join(file.name for file in [path, *files])
    console.print(f"{directory}: {names}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"the winner is {best.name}: {_shown(best.values)} ({plan.search.objective} {best.value:.4f})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return path


def run_winner(best: Path, directory: Path, options: argparse.Namespace, console: Console) -> int:
    """Run the winner once per seed of ``--seeds``, as a sweep with its report."""
    with (directory / "trials" / "winner.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            console.print("another process runs the winner", markup=False)
            return 0
        folder = directory / WINNER_FOLDER
        text = read_text(best)
        has_begun = (folder / SWEEP_FILE).is_file()
        bare = argparse.Namespace(
            **{**vars(options), "set": [], "rounds_scale": None, "plugins": [], "run_dir": str(folder)}
        )
        bare.resume = has_begun
        bare.experiment = best
        return launch_sweep(parse_experiment(text, str(best)), bare, text)
