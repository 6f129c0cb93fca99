"""What users should see before a run starts."""

from collections.abc import Iterator

import torch
from torch import nn

from common.config import Config
from common.defaults import default_values
from common.device import has_fast_bfloat16, resolve_device
from common.round_list import RoundList
from models.batch_norm import batch_norm_layers
from server.messages.client_registry import ClientRegistry
from server.parts import Parts
from server.privacy import privacy_remarks
from server.sizes import size_remarks
from strategies.fedavg import FedAvg


def start_remarks(parts: Parts) -> Iterator[str]:
    """Yield remarks that users should see before the run starts."""
    config, evaluation, clients = parts.config, parts.evaluation, parts.clients
    num_samples, num_held = len(parts.dataset.train), int(clients.num_examples.sum())
    yield from parts.dataset.remarks
    yield from getattr(evaluation.model, "remarks", ())
    if evaluation.returns_probabilities and config.loss.name == "cross-entropy":
        yield (
            f"model '{config.model.name}' seems to end with a softmax, and so does the loss, which takes"
            " logits: leave the model's out"
        )
    if batch_norm_layers(evaluation.model):
        yield f"the model has BatchNorm statistics; batch-norm.policy is '{config.batch_norm.policy}'"
    elif config.batch_norm.policy != "average":
        yield f"batch-norm.policy = '{config.batch_norm.policy}' has no effect: the model has no BatchNorm"
    attack, count = config.attack, config.clients.count
    if attack.name != "none" and round(attack.fraction * count) == 0:
        yield (
            f"attack.name = '{attack.name}' has no effect: attack.fraction = {attack.fraction:g} of {count}"
            " clients is none"
        )
    if not (config.clients.evaluate_fraction or clients.is_personalised):
        yield from _without_client_tests(config)
    yield from _speed_remarks(config, evaluation.model)
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
    if not parts.has_global_model:
        yield "the clients keep the whole model: there is no global one, and so no test accuracy of it"
        if "weighting" in config.method.parameters and type(parts.strategy) is FedAvg:
            yield "method.weighting has no effect: there is no mean of models"
    elif clients.personal_names:
        yield (
            f"{len(clients.personal_names)} of the model's {len(evaluation.initial_arrays())} arrays stay"
            " with the clients: test_accuracy is that of a model which has them as they are initially"
        )
    yield from size_remarks(evaluation.selections, parts.population)
    if parts.participation.scheme.aggregates_uniformly:
        yield _weighting_remark(parts.strategy, config)


def _weighting_remark(strategy: FedAvg, config: Config) -> str:
    """Return how replies weigh under a participation scheme that is defined with equal weights."""
    weighting = f"method.weighting is '{strategy.weighting}'"
    if not strategy.weighs_replies:
        weighting = f"'{config.method.name}' has no weights for them"
    name = config.participation.name
    return f"participation '{name}' is defined with equal weights of the replies; {weighting}"


def _hold_all(clients: ClientRegistry, num_samples: int) -> bool:
    return bool((torch.as_tensor(clients.num_examples) == num_samples).all())


def _without_client_tests(config: Config) -> Iterator[str]:
    """Yield remarks on settings for the evaluation of clients, where none is evaluated."""
    values = {"clients.test-data": config.clients.test_data, "evaluate.mask": config.evaluate.mask}
    for key, value in values.items():
        if value != default_values()[key]:
            yield (
                f"{key} = '{value}' has no effect: no client is evaluated, which takes"
                " clients.evaluate-fraction above 0"
            )


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


def _speed_remarks(config: Config, model: nn.Module) -> Iterator[str]:
    """Yield remarks on what makes steps slow on this machine, and what cannot make them fast."""
    if config.local.channels_last and not any(param.dim() == 4 for param in model.parameters()):
        yield "local.channels-last has no effect: the model has no two-dimensional convolutions"
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
