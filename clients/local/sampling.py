"""Streams of mini-batches that continue across rounds: the batch of a local step, whatever its round.

The batch of (client, local step since the start of the run) is a pure function of these and the seed, so a
round may begin in the middle of an epoch, and no process needs to have seen the earlier ones.
"""

import functools
import math
from collections.abc import Callable, Iterator

import torch

from clients.hooks import Hooks
from common.budget import num_steps
from common.config import Config
from common.errors import UserError
from common.randomness import Purpose, torch_generator
from common.rates import gradual_warmup_steps, varies_by_step
from common.sections import LocalSection

BatchOf = Callable[[Hooks, int], torch.Tensor]


def iterate_stream(client: Hooks, local: LocalSection) -> Iterator[torch.Tensor]:
    """Yield the sample indices of the mini-batches of this round's local steps, on the device.

    ``shard``: passes over the client's own data, reshuffled for each, including the last, smaller batch.
    ``shuffle``: all training data are shuffled once per epoch and dealt to all clients, batch by batch (Gu et
    al. 2023, code), so that clients draw without replacement. ``replacement``: every batch is drawn from all
    training data, each sample independently.

    Parameters
    ----------
    client : Hooks
        The client, in its round.
    local : LocalSection
        The budget of the round, the batch size and ``sampling``.
    """
    batch_of, first = _STREAMS[local.sampling], client.first_step
    for step in range(first, first + num_steps(local, client.num_examples)):
        yield batch_of(client, step).to(client.worker.device)


def dealt(
    permutation: torch.Tensor, worker: int, num_workers: int, step: int, batch_size: int
) -> torch.Tensor:
    """Return the batch that a worker gets in a step of an epoch: batches go round-robin over the workers.

    Parameters
    ----------
    permutation : Tensor
        The shuffled samples.
    worker, num_workers : int
        Index of the worker, from 0, and number of workers.
    step : int
        Step within the epoch, from 0.
    """
    start = (step * num_workers + worker) * batch_size
    return permutation[start : start + batch_size]


def share_of_process(permutation: torch.Tensor, process: int, world_size: int) -> torch.Tensor:
    """Return the shuffled samples that a process deals to its workers: every W-th one.

    Parameters
    ----------
    permutation : Tensor
        The shuffled samples; if W does not divide their number, they are padded from the beginning.
    process, world_size : int
        Index of the process, from 0, and number of processes W (``local.world-size``, Gu et al. 2023, code).
    """
    if missing := -len(permutation) % world_size:
        permutation = torch.cat([permutation, permutation[:missing]])
    return permutation[process::world_size]


def steps_per_epoch(config: Config, num_samples: int) -> int:
    """Return the local steps per epoch of ``shuffle``: as configured, or as many as the data allow."""
    return config.local.steps_per_epoch or num_samples // (config.clients.count * config.local.batch_size)


def check_sampling_and_schedule(client: Hooks) -> None:
    """Refuse a sampling or schedule of local steps that the data or the method do not allow."""
    config, local = client.worker.config, client.worker.config.local
    if varies_by_step(config) and (client.NEEDS_ONE_RATE or client.assumes_sgd()):
        raise UserError(
            f"method.name '{config.method.name}' computes with one learning rate per round:"
            " leave out schedule.warmup-steps, schedule.warmup-epochs and schedules by step"
        )
    if config.schedule.name == "polynomial-steps":
        check_warmup(client)
    if local.sampling not in ("shuffle", "replacement"):
        return
    if config.clients.count % local.world_size:
        raise UserError(
            f"local.world-size = {local.world_size} processes cannot hold clients.count ="
            f" {config.clients.count} workers evenly: it must divide them"
        )
    if config.partition.name == "node":
        raise UserError(
            f"local.sampling '{local.sampling}' draws from the data of all clients, which no node has with"
            " partition.name 'node'"
        )
    num_samples, total_batch = len(client.worker.train), config.clients.count * local.batch_size
    needed = total_batch * max(1, local.steps_per_epoch)
    if local.sampling == "shuffle" and needed > num_samples:
        raise UserError(
            f"local.sampling 'shuffle' deals {needed} samples per epoch (clients.count x local.batch-size x"
            f" local.steps-per-epoch), but there are {num_samples}"
        )


def check_warmup(client: Hooks) -> None:
    """Refuse a polynomial decay that would begin after the end of the run."""
    config, total = client.worker.config, client.total_steps
    epoch = config.local.steps_per_pass(client.num_examples)
    warm = config.schedule.warmup_steps or gradual_warmup_steps(config, epoch)
    if warm >= total:
        raise UserError(
            f"the warm-up takes {warm} of the {total} local steps of the run: shorten it, or raise rounds"
        )


def _batch_of_shard(client: Hooks, step: int) -> torch.Tensor:
    size = client.worker.config.local.batch_size
    epoch, index = divmod(step, math.ceil(client.num_examples / size))
    order = _permutation(client.worker.config.seed, "shard", client.num_examples, epoch, client.client_id)
    return torch.from_numpy(client.indices)[order[index * size : (index + 1) * size]]


def _dealt_batch(client: Hooks, step: int) -> torch.Tensor:
    config, num_samples = client.worker.config, len(client.worker.train)
    epoch, index = divmod(step, steps_per_epoch(config, num_samples))
    order = _permutation(config.seed, "deal", num_samples, epoch)
    num_workers = config.clients.count // config.local.world_size
    process, worker = divmod(client.client_id, num_workers)
    own = share_of_process(order, process, config.local.world_size)
    return dealt(own, worker, num_workers, index, config.local.batch_size)


def _batch_with_replacement(client: Hooks, step: int) -> torch.Tensor:
    config = client.worker.config
    generator = torch_generator(config.seed, "replacement", step, client.client_id)
    return torch.randint(len(client.worker.train), (config.local.batch_size,), generator=generator)


_STREAMS: dict[str, BatchOf] = {
    "shard": _batch_of_shard,
    "shuffle": _dealt_batch,
    "replacement": _batch_with_replacement,
}


@functools.lru_cache(maxsize=32)
def _permutation(seed: int, purpose: Purpose, size: int, *keys: int) -> torch.Tensor:
    """Return the permutation of an epoch; cached, since a short round needs only a few of its batches."""
    return torch.randperm(size, generator=torch_generator(seed, purpose, *keys))
