"""The round of several clients together: what each does by itself, and the steps that they make as one."""

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

from clients.base import Client
from clients.local.optimizers import load_optimizer_state
from clients.local.stacked.attributes import signature_of
from clients.local.stacked.optimizer import COUNT
from clients.local.stacked.training import StackedTraining
from common.rates import varies_by_step

Ticket = TypeVar("Ticket")


class Job(Generic[Ticket]):
    """One client of a stack, ready to train.

    Parameters
    ----------
    client : Client
        After ``prepare``: what is resident is what it begins with.
    ticket : object
        What hands it the reply.

    Attributes
    ----------
    start : Tensors
        The parameters and buffers that it begins with.
    """

    def __init__(self, client: Client, ticket: Ticket) -> None:
        self.client, self.ticket = client, ticket
        self.start = {name: value.detach().clone() for name, value in client.worker.state.items()}
        for name in _cached_properties(type(client)):  # they may look at what a stack has not
            getattr(client, name)
        if not client.overrides("loss"):
            client._loss  # noqa: B018


def grouped(jobs: Iterable[Job[Ticket]]) -> list[list[Job[Ticket]]]:
    """Return the jobs that make stacks, in the order of their first ones."""
    groups: dict[Any, list[Job[Ticket]]] = {}
    for job in jobs:
        groups.setdefault(_signature(job.client), []).append(job)
    return list(groups.values())


def trained(jobs: Sequence[Job[Ticket]]) -> Iterator[tuple[Job[Ticket], float, float]]:
    """Train a stack and yield each job with the mean loss, and the time when it would have begun by itself.

    The client's model and optimiser are the resident ones until the next is asked for.
    """
    started = time.perf_counter()
    worker = jobs[0].client.worker
    jobs = sorted(jobs, key=lambda job: -job.client.step_budget)
    state = {name: torch.stack([job.start[name] for job in jobs]) for name in jobs[0].start}
    training = StackedTraining([job.client for job in jobs], state)
    losses = training.run()
    share = (time.perf_counter() - started) / len(jobs)
    for row, (job, loss) in enumerate(zip(jobs, losses, strict=True)):
        begun = time.perf_counter() - share
        worker.load({name: value[row] for name, value in state.items()})
        if job.client.overrides("end_round"):
            worker.optimizer.state.clear()
            load_optimizer_state(worker.optimizer, job.client.params, training.optimizer_state(row))
        yield job, loss, begun


def _signature(client: Client) -> Any:
    """Return what clients of a stack have in common, in addition to the form of their attributes."""
    kept = client.initial_optimizer()
    counts = {key: float(value) for key, value in kept.items() if key.startswith(COUNT)}
    rates = tuple(client.step_rates(client.step_budget)) if varies_by_step(client.worker.config) else ()
    return signature_of(client), tuple(kept), tuple(counts.items()), rates


def _cached_properties(method: type[Client]) -> list[str]:
    """Return the cached properties that a method declares."""
    return [
        name
        for cls in method.__mro__
        if issubclass(cls, Client) and cls is not Client
        for name, value in vars(cls).items()
        if isinstance(value, functools.cached_property)
    ]
