"""Runs one experiment, from its configuration to the finished run directory."""

import copy
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from flwr.serverapp import Grid

from clients.registry import complete, load_method
from common.clock import ClientSpeeds
from common.cohort import cohort_size
from common.config import Config
from common.device import has_fast_bfloat16, resolve_device
from common.errors import UserError
from common.files import expanded
from common.plugins import use_folders
from common.returned import call_for_effect
from common.round_list import RoundList
from common.topologies import Topology
from datasets.configured import num_natural_clients, open_dataset
from datasets.dataset import Dataset
from datasets.partition_report import write_partition
from datasets.partition_scheme import partition_clients
from datasets.transforms import make_normalizer
from models.batch_norm import batch_norm_layers
from models.sizes.population import Population
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore
from server.checkpoints.state_codec import capture_attributes
from server.checkpoints.stored_config import find_stored_config, stored_config
from server.end_remarks import divergence, faster_way
from server.evaluation import CentralEvaluation
from server.measurer import Evaluator
from server.meeting import meet_clients
from server.messages.client_registry import ClientRegistry
from server.messages.discovery import Say, count_nodes
from server.messages.divergence import advice
from server.messages.messenger import Messenger, StateKeeper, write_nodes
from server.named_parameters import differences
from server.observers import Observers
from server.observers._tracker import find_trackers
from server.participation import Participation
from server.parts import Parts, Run
from server.privacy import apply_privacy, check_private_state, privacy_remarks, privacy_summary
from server.records.feature_noise import write_noise_examples
from server.records.model_card import model_card
from server.records.participation_report import write_participation
from server.records.progress import LoggedProgress, ProgressDisplay
from server.records.row_files import check_rows
from server.records.run_directory import (
    RunDirectory,
    check_writable,
    default_run_directory,
    holds_run,
    peak_rss_mb,
)
from server.records.topology import write_topology
from server.round_loop import RoundLoop
from server.sizes import check_sizes, make_population, size_remarks, write_sizes
from server.stacking import with_settled_stack
from strategies._hooks import ServerHooks
from strategies._run_facts import RunFacts
from strategies.fedavg import FedAvg


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
    checkpoint, lost = _find_checkpoint(path, checkpoints, config) if config.run.resume else (None, "")
    parts = prepare(config, grid, progress.note)
    parts = with_settled_stack(parts, grid, path, progress.note)
    config = parts.config
    strategy, participation, dataset = parts.strategy, parts.participation, parts.dataset
    evaluation, clients = parts.evaluation, parts.clients
    observers = Observers(parts)

    run_directory = RunDirectory(path, config, config.run.resume)
    progress = LoggedProgress(progress, run_directory.log)
    try:
        names = (dataset.class_names or ("samples",)) if config.clients.report_labels else ()
        run_directory.write_label_distribution(clients.num_examples, clients.label_counts, names)
        write_nodes(run_directory, grid, clients)
        partition_hash = _write_partition(path / "partition.npz", config, dataset)
        write_participation(path / "participation.csv", participation)
        write_sizes(path / "sizes.csv", parts.population)
        write_topology(path / "topology.csv", config, strategy)
        write_noise_examples(path / "feature_noise.npz", config)
        for remark in (*dataset.remarks, *_remarks(config, evaluation, clients, len(dataset.train))):
            progress.note(remark)
        for remark in size_remarks(evaluation.selections, parts.population):
            progress.note(remark)
        if participation.scheme.aggregates_uniformly:
            progress.note(_weighting_remark(strategy, config))
        advise = functools.partial(advice, config, strategy)
        stored = checkpoints.client_state
        if isinstance(grid, StateKeeper):
            grid.spill_below(path / "states")
        messenger = Messenger(config, grid, clients, run_directory, progress, stored, advise)
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


def prepare(config: Config, grid: Grid, say: Say = print) -> Parts:
    """Create the parts of an experiment and meet its clients; nothing is written or trained.

    Raises
    ------
    UserError
        If the configuration or the data do not allow the experiment.
    """
    use_folders(config.plugins)
    find_trackers(config)
    strategy = load_method(config.method.name, config.method.parameters).make_strategy()
    ServerHooks.check(strategy, config)  # a user's own may not call it
    call_for_effect(strategy.check, config)
    capture_attributes(strategy)  # state that cannot be checkpointed is refused before any training
    participation = Participation(config)
    _agree_on_weights(strategy, participation, config)
    if participation.scheme.looks_at_labels and not config.clients.report_labels:
        raise UserError(
            f"participation.name '{config.participation.name}' chooses clients by their label counts, which"
            " clients.report-labels = false keeps with them: set it to true, or choose another scheme"
        )
    dataset = open_dataset(config)
    if config.partition.name != "node":
        partition_clients(config, dataset)  # an impossible partition is refused before a client is asked
    evaluation = CentralEvaluation(config, dataset, grid if isinstance(grid, Evaluator) else None)
    has_validation = dataset.validation is not None
    apply_privacy(config, strategy, evaluation.model, participation.scheme, has_validation)
    clients = meet_clients(config, grid, dataset, say)
    check_private_state(config, participation.scheme, clients.keeps_state)
    participation.setup(clients.num_examples, clients.label_counts)
    population = make_population(config, evaluation.model)
    check_sizes(config, strategy, evaluation.model, population, clients)
    facts = run_facts(config, evaluation, clients, population)
    ServerHooks.setup(strategy, facts)
    call_for_effect(strategy.setup, facts)
    return Parts(config, strategy, participation, dataset, evaluation, clients, population)


def run_facts(
    config: Config, evaluation: CentralEvaluation, clients: ClientRegistry, population: Population | None
) -> RunFacts:
    """Return what a strategy may know about the run."""
    model = evaluation.model
    trained = (name for name, value in model.named_parameters() if value.requires_grad)
    personal = clients.personal_names
    return RunFacts(
        num_clients=config.clients.count,
        parameter_names=[name for name in trained if name not in personal],
        seed=config.seed,
        cohort_size=cohort_size(config.clients.count, config.clients.fraction),
        label_counts=torch.from_numpy(clients.label_counts) if config.clients.report_labels else None,
        num_examples=torch.from_numpy(clients.num_examples),
        client_ids=clients.client_ids,
        speeds=ClientSpeeds(config),
        model_bytes=sum(value.nbytes for name, value in model.state_dict().items() if name not in personal),
        topology=Topology(config.topology, config.clients.count, config.seed),
        population=population,
        submodels=evaluation.selections,
        make_model=lambda: copy.deepcopy(model).eval(),
        validation_inputs=lambda: _validation_inputs(config, next(model.parameters()).device),
    )


def _validation_inputs(config: Config, device: torch.device) -> torch.Tensor:
    dataset = open_dataset(config)
    if dataset.validation is None:
        raise UserError(
            f"method.name '{config.method.name}' computes with validation data, which dataset"
            f" '{dataset.name}' does not bring: set dataset.validation-fraction above 0"
        )
    return make_normalizer(dataset, device)(dataset.validation.inputs.to(device))


def client_sizes(config: Config) -> list[int]:
    """Return the number of training samples of every client."""
    return list(map(int, partition_clients(config, open_dataset(config)).sizes))


def keeps_natural_clients(config: Config) -> bool:
    """Return whether the run has the data of only some of the data set's natural clients."""
    return num_natural_clients(config) is not None and open_dataset(config).train.clients is not None


def _agree_on_weights(strategy: FedAvg, participation: Participation, config: Config) -> None:
    """Agree with the participation scheme on the weights of replies, before any training."""
    scheme = participation.scheme
    if scheme.corrects and not strategy.weighs_replies:
        raise UserError(
            f"method.name '{config.method.name}' would ignore participation.correction, since it has no"
            " weights for replies: leave the correction out, or choose another method"
        )
    if scheme.aggregates_uniformly and "weighting" not in config.method.parameters:
        strategy.weighting = "uniform"


def _weighting_remark(strategy: FedAvg, config: Config) -> str:
    weighting = f"method.weighting is '{strategy.weighting}'"
    if not strategy.weighs_replies:
        weighting = f"'{config.method.name}' has no weights for them"
    name = config.participation.name
    return f"participation '{name}' is defined with equal weights of the replies; {weighting}"


def _remarks(
    config: Config, evaluation: CentralEvaluation, clients: ClientRegistry, num_samples: int
) -> Iterator[str]:
    """Yield remarks that users should see before the run starts."""
    num_held = int(clients.num_examples.sum())
    yield from getattr(evaluation.model, "remarks", ())
    if batch_norm_layers(evaluation.model):
        yield f"the model has BatchNorm statistics; batch-norm.policy is '{config.batch_norm.policy}'"
    elif config.batch_norm.policy != "average":
        yield f"batch-norm.policy = '{config.batch_norm.policy}' has no effect: the model has no BatchNorm"
    yield from _speed_remarks(config)
    yield from privacy_remarks(config)
    made = config.local.step_plan().first_step(config.rounds + 1)
    if config.steps.rule == "fixed" and made < config.local.total_steps:
        yield (
            f"{config.rounds} rounds make {made} of local.total-steps = {config.local.total_steps}:"
            f" rounds = {config.local.step_plan().num_rounds(config.local.total_steps)} would make all"
        )
    yield from _beyond_the_run(config)
    if num_held < num_samples and config.partition.name != "node":
        name, rest = config.partition.name, num_samples - num_held
        yield f"partition '{name}' leaves out {rest} of {num_samples} training samples"
    if config.partition.name == "node" and config.clients.count > 1 and _hold_all(clients, num_samples):
        yield (
            "every client has as many training samples as the server's data set: if they all have the same"
            " ones, choose another partition than 'node', to divide them"
        )
    if clients.personal_names:
        yield (
            f"{len(clients.personal_names)} of the model's {len(evaluation.initial_arrays())} arrays stay"
            " with the clients: test_accuracy is that of a model which has them as they are initially"
        )


def _hold_all(clients: ClientRegistry, num_samples: int) -> bool:
    return bool((torch.as_tensor(clients.num_examples) == num_samples).all())


def _beyond_the_run(config: Config) -> Iterator[str]:
    """Yield remarks on settings for rounds that the run does not have."""
    warmup, analysis = config.schedule.warmup_rounds, config.analysis
    if warmup > config.rounds:
        yield (
            f"schedule.warmup-rounds = {warmup} is more than rounds = {config.rounds}: the learning rate does"
            " not come to optimizer.learning-rate"
        )
    for name in ("similarity", "update", "feature"):
        key = f"analysis.{name}-rounds"
        listed = RoundList(getattr(analysis, f"{name}_rounds"), key)
        if listed and listed.first() > config.rounds:
            yield f"{key} lists no round up to rounds = {config.rounds}: nothing of it is recorded"


def _speed_remarks(config: Config) -> Iterator[str]:
    """Yield remarks on what makes steps slow on this machine."""
    if resolve_device(config.device).type != "cpu":
        return
    is_fast = has_fast_bfloat16()
    slow = [
        f"{section}.precision"
        for section in ("local", "evaluate")
        if getattr(config, section).precision == "bfloat16" and is_fast is False
    ]
    if slow:
        yield (
            f"this CPU has no bfloat16 arithmetic: it emulates {' and '.join(slow)} = 'bfloat16', which may"
            " take ten times as long as 'float32'"
        )


def _find_checkpoint(
    path: Path, checkpoints: CheckpointStore, config: Config
) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint to resume from (None if the run never wrote one), and a remark.

    Raises
    ------
    UserError
        If it ran with another configuration, none of its checkpoints can be used, or restarting it would
        delete finished rounds.
    """
    stored = find_stored_config(path, config.plugins)
    if stored is None:
        if holds_run(path):
            raise UserError(
                f"{path} has files of a run, but neither its config.toml nor a readable checkpoint: move"
                " them away, or choose another --run-dir"
            )
        return None, ""
    values = stored.values
    checkpoint = checkpoints.load_latest(lambda progress: check_rows(path, progress["rows"]))
    if checkpoint is None:
        _check_nothing_is_lost(path, stored_config(values, config.plugins))
    else:
        values = checkpoint.config
        if checkpoint.server_round > config.rounds:
            raise UserError(
                f"{path} has {checkpoint.server_round} rounds already, more than rounds = {config.rounds}"
            )
    if found := differences(stored_config(values, config.plugins), config):
        raise UserError(f"cannot resume {path} with another configuration: {'; '.join(found)}")
    return checkpoint, stored.remark


def _check_nothing_is_lost(path: Path, stored: Config) -> None:
    """Refuse to restart a run that had a checkpoint once: its finished rounds would be deleted."""
    metrics = path / "metrics.csv"
    num_rounds = metrics.read_bytes().count(b"\n") - 2 if metrics.exists() else 0  # header, round 0
    if (path / "summary.json").exists() or num_rounds > stored.checkpoint.every:
        raise UserError(
            f"{path} holds {num_rounds} finished rounds, but no checkpoint to resume from, and starting again"
            " would delete them: choose another --run-dir"
        )


def _write_partition(path: Path, config: Config, dataset: Dataset) -> dict[str, str]:
    """Write which client holds which training samples; return the hash for the summary, if it is known."""
    if config.partition.name == "node":
        return {}
    partition = partition_clients(config, dataset)
    write_partition(path, partition)
    return {"partition_sha256": partition.sha256}


def _finish(
    loop: RoundLoop, run_directory: RunDirectory, partition_hash: Mapping[str, str], diverged: str
) -> None:
    final = loop.parts.evaluation.finished(loop.arrays)
    model_card(loop.config, loop.parts.dataset, loop.server_round).write(run_directory.path)
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
