"""Runs one experiment, from its configuration to the finished run directory."""

import functools
from collections.abc import Mapping
from pathlib import Path

from flwr.serverapp import Grid

from clients._configuration import complete
from common.config import Config
from common.files import expanded
from datasets.partition_report import write_partition
from datasets.partition_scheme import partition_clients
from server.checkpoints.checkpoint import CheckpointStore
from server.checkpoints.earlier_run import find_checkpoint
from server.end_remarks import divergence, faster_way
from server.messages.divergence import advice
from server.messages.messenger import Messenger, StateKeeper, write_nodes
from server.messages.waiting import count_nodes
from server.observers import Observers
from server.parts import Parts, Run
from server.preparation import make_parts
from server.privacy import privacy_summary
from server.records.feature_noise import write_noise_examples
from server.records.model_card import model_card
from server.records.participation_report import write_participation
from server.records.progress import LoggedProgress, ProgressDisplay
from server.records.run_directory import (
    RunDirectory,
    check_writable,
    default_run_directory,
    peak_rss_mb,
)
from server.records.topology import write_topology
from server.round_loop import RoundLoop
from server.sizes import write_sizes
from server.stacking import with_settled_stack
from server.start_remarks import start_remarks


def run_experiment(config: Config, grid: Grid, progress: ProgressDisplay) -> Path:
    """Run an experiment on a Grid, or resume it, and return its run directory.

    Raises
    ------
    UserError
        If the configuration, the data or a checkpoint does not allow it; before any training.
    ClientFailureError, KeyboardInterrupt
        From ``RoundLoop.run``.
    """
    config = complete(config)
    if config.clients.count == 0:
        config = config.with_clients(count_nodes(grid, config.failures.timeout, progress.note))
        progress.note(f"clients.count = 0 takes the nodes that are there: {config.clients.count}")
    path = expanded(config.run.directory or default_run_directory(config), "run.directory")
    check_writable(path)
    checkpoints = CheckpointStore(path / "checkpoints")
    checkpoint, lost = find_checkpoint(path, checkpoints, config) if config.run.resume else (None, "")
    parts = make_parts(config, grid, progress.note)
    parts = with_settled_stack(parts, grid, path, progress.note)
    config = parts.config
    observers = Observers(parts)

    run_directory = RunDirectory(path, config, config.run.resume)
    progress = LoggedProgress(progress, run_directory.log)
    try:
        partition_hash = _write_facts(run_directory, grid, parts)
        for remark in start_remarks(parts):
            progress.note(remark)
        advise = functools.partial(advice, config, parts.strategy)
        stored = checkpoints.client_state
        if isinstance(grid, StateKeeper):
            grid.spill_below(path / "states")
        messenger = Messenger(config, grid, parts.clients, run_directory, progress, stored, advise)
        loop = RoundLoop(Run(parts, messenger, run_directory, checkpoints, progress), observers)
        for remark in filter(None, (lost, *checkpoints.passed_over)):
            progress.note(remark)
        if checkpoint:
            loop.resume(checkpoint)
            progress.note(f"resumed after round {checkpoint.server_round} of {config.rounds}")
        elif config.run.resume:
            run_directory.restart()
            progress.note(f"nothing was committed in {path}: the run starts from the beginning")
        loop.run()
        if diverged := divergence(loop):
            progress.note(f"{diverged}: a sign of divergence. {advise(loop.server_round)}")
        if hint := faster_way(loop):
            progress.note(hint)
        _finish(loop, run_directory, partition_hash, diverged)
    except BaseException as error:
        run_directory.log(f"ended by {type(error).__name__}: {error}")
        raise
    finally:
        run_directory.close()
    return path


def _write_facts(run_directory: RunDirectory, grid: Grid, parts: Parts) -> dict[str, str]:
    """Write what is known before the first round; return the partition's hash for the summary, if known."""
    config, dataset, clients, path = parts.config, parts.dataset, parts.clients, run_directory.path
    names = (dataset.class_names or ("samples",)) if config.clients.report_labels else ()
    run_directory.write_label_distribution(clients.num_examples, clients.label_counts, names)
    write_nodes(run_directory, grid, clients)
    write_participation(path / "participation.csv", parts.participation)
    write_sizes(path / "sizes.csv", parts.population)
    write_topology(path / "topology.csv", config, parts.strategy)
    write_noise_examples(path / "feature_noise.npz", config)
    if config.partition.name == "node":
        return {}
    partition = partition_clients(config, dataset)
    write_partition(path / "partition.npz", partition)
    return {"partition_sha256": partition.sha256}


def _finish(
    loop: RoundLoop, run_directory: RunDirectory, partition_hash: Mapping[str, str], diverged: str
) -> None:
    final = loop.parts.evaluation.finished(loop.arrays)
    kept = len(loop.parts.clients.personal_names)
    model_card(loop.config, loop.parts.dataset, loop.server_round, kept).write(run_directory.path)
    summary = {
        "rounds": loop.server_round,
        **loop.observers.best.summary(),
        "stopped": loop.stopped,
        "diverged": diverged,
        **privacy_summary(loop.config, loop.strategy, loop.server_round),
        "model_sha256": run_directory.write_model(final),
        **partition_hash,
        "seconds": loop.seconds,
        "seconds_per_round": loop.seconds / max(1, loop.server_round),
        "peak_rss_mb": peak_rss_mb(),
    }
    run_directory.write_summary(summary)
