"""The mini-batches of local training: samples of a budget, augmented and with the labels to train on."""

from collections.abc import Callable, Iterator
from typing import cast

import torch

from clients.hooks import Hooks
from clients.local.attacks import attack_of
from clients.local.batches import Batch, iterate_batches
from clients.local.sampling import iterate_stream
from common.randomness import Purpose, torch_seed
from common.sections import LocalSection
from datasets.noise.label_noise import corrupt_labels
from datasets.transforms import augmented, is_augmented

Change = Callable[[torch.Tensor, int], torch.Tensor]
"""From the values of a mini-batch, and its local step in the run, to other values."""


def iterate_training_batches(client: Hooks, purpose: str, local: LocalSection) -> Iterator[Batch]:
    """Yield the mini-batches of a client's budget: shuffled, augmented, normalised, on the device.

    Every source of randomness is keyed by (seed, purpose, round, client), or by the local step of the run
    instead of the round where batches are (``belong_to_the_run``). So the result does not depend on which
    worker runs the job or on what ran there before.

    Parameters
    ----------
    client : Hooks
        Whose data.
    purpose : str
        What the batches are for: empty for the round's training. Each purpose draws different batches.
    local : LocalSection
        The budget and the batch size.
    """
    train = client.worker.train
    to_inputs, to_targets = _inputs(client, purpose, local), _targets(client, purpose, local)
    first_step = client.first_step if belong_to_the_run(purpose, local) else 0
    for step, samples in enumerate(iterate_samples(client, purpose, local), first_step):
        inputs = to_inputs(train.inputs.index_select(0, samples), step)
        labels = train.targets[samples]
        yield Batch(inputs, to_targets(labels, step), samples, labels)


def belong_to_the_run(purpose: str, local: LocalSection) -> bool:
    """Return whether mini-batches belong to local steps of the run, whichever round these are in."""
    return local.sampling != "client" and not purpose


def iterate_samples(
    client: Hooks, purpose: str, local: LocalSection, shuffle: torch.Generator | None = None
) -> Iterator[torch.Tensor]:
    """Return the sample indices of each mini-batch, on the device; see ``iterate_training_batches``.

    `shuffle` is the client's generator for the purpose ``shuffle``, if it has been made already.
    """
    if belong_to_the_run(purpose, local):
        return iterate_stream(client, local)
    indices = torch.from_numpy(client.indices).to(client.worker.device)
    return iterate_batches(indices, local, shuffle or client.generator("shuffle", purpose))


def _inputs(client: Hooks, purpose: str, local: LocalSection) -> Change:
    """Return the function from a mini-batch's raw inputs to the model's."""
    worker, section = client.worker, client.worker.config.augmentation
    noise = cast(Purpose, f"{purpose}-noise" if purpose else "noise")
    normalizer = client.normalizer(noise, client.server_round)
    memory_format = torch.channels_last if local.channels_last else torch.contiguous_format
    augments = is_augmented(section)
    if augments:
        generator = client.generator("augment", purpose, worker.device)
    seeds_steps = augments and belong_to_the_run(purpose, local)

    def inputs(raw: torch.Tensor, step: int) -> torch.Tensor:
        if seeds_steps:
            generator.manual_seed(torch_seed(worker.config.seed, "step-augment", step, client.client_id))
        made = augmented(raw, normalizer, section, generator) if augments else normalizer(raw)
        return made.contiguous(memory_format=memory_format) if made.dim() == 4 else made

    return inputs


def _targets(client: Hooks, purpose: str, local: LocalSection) -> Change:
    """Return the function from a mini-batch's true labels to what is trained on: noisy, or an attacker's."""
    worker, config = client.worker, client.worker.config
    num_classes, probability = worker.dataset.num_classes, config.dataset.label_noise
    attack = attack_of(config, client.client_id)
    is_noisy = probability > 0
    if is_noisy:
        generator = client.generator("label-noise", purpose, worker.device)
    seeds_steps = is_noisy and belong_to_the_run(purpose, local)

    def targets(labels: torch.Tensor, step: int) -> torch.Tensor:
        if seeds_steps:
            generator.manual_seed(torch_seed(config.seed, "step-label-noise", step, client.client_id))
        if is_noisy:
            labels = corrupt_labels(labels, probability, num_classes, generator)
        return attack.labels(labels, num_classes) if attack else labels

    return targets
