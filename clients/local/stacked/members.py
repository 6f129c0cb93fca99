"""One round of several clients: what each does by itself, and the steps that they make together."""

import functools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch

from clients.base import Client, Outcome
from clients.local.checked_hooks import checked_initial_optimizer
from clients.local.optimizers import load_optimizer_state
from clients.local.stacked.attributes import Signatures
from clients.local.stacked.optimizer import COUNT
from clients.local.stacked.stackable import NotStackableError, drawing_nothing
from clients.local.stacked.stand_in import StandIn
from clients.local.stacked.training import StackedTraining
from common.budget import num_steps
from common.records import rows_to_arrays

Ticket = TypeVar("Ticket")


class Member(Generic[Ticket]):
    """One client of a stack, ready to train.

    Parameters
    ----------
    client : Client
        After ``prepare``: the resident model is the one from which it starts.
    ticket : object
        Identifies the message that is answered.

    Attributes
    ----------
    start : Tensors
        The parameters and buffers from which it starts.
    budget : LocalSection
        Its local budget.
    steps : int
        The number of steps of this budget.
    optimizer : Tensors
        The optimiser state with which it starts.
    """

    def __init__(self, client: Client, ticket: Ticket) -> None:
        self.client, self.ticket = client, ticket
        self.budget = client.budget
        self.steps = num_steps(self.budget, client.num_examples)
        self.start = client.worker.snapshot()
        self.optimizer = checked_initial_optimizer(client)
        _check_own(type(client))
        with drawing_nothing(client.worker):
            for name in _cached_properties(type(client)):  # they may look at what a stack has not
                getattr(client, name)
        if not client.overrides("loss"):
            client._loss  # noqa: B018


def grouped(members: Iterable[Member[Ticket]]) -> list[list[Member[Ticket]]]:
    """Group members into stacks, in the order of the first member of each."""
    groups: dict[Any, list[Member[Ticket]]] = {}
    signatures = Signatures()
    for member in members:
        groups.setdefault(_signature(member, signatures), []).append(member)
    return list(groups.values())


def trained(members: Sequence[Member[Ticket]]) -> Iterator[tuple[Member[Ticket], Outcome]]:
    """Train a stack and yield each member with its client's outcome.

    If the method has an ``end_round``, the client's model and optimiser are the resident ones until the next
    member is asked for.
    """
    started = time.perf_counter()
    worker = members[0].client.worker
    members = sorted(members, key=lambda member: -member.steps)
    state = {name: _stacked([member.start[name] for member in members]) for name in members[0].start}
    training = StackedTraining(
        [member.client for member in members], [member.budget for member in members], state
    )
    with drawing_nothing(worker):
        losses = training.run([member.optimizer for member in members])
    share = (time.perf_counter() - started) / len(members)
    ends = members[0].client.overrides("end_round")
    rows = zip(*(value.detach().unbind() for value in state.values()), strict=True)
    sent = zip(*(rows_to_arrays(value.detach()) for value in state.values()), strict=True)
    for row, (member, loss, values, arrays) in enumerate(zip(members, losses, rows, sent, strict=True)):
        begun = time.perf_counter() - share
        own = dict(zip(state, values, strict=True))
        if ends:
            worker.load(own)
            worker.optimizer.state.clear()
            load_optimizer_state(worker.optimizer, member.client.params, training.optimizer_state(row))
        yield member, Outcome(loss, begun, own, dict(zip(map(id, values), arrays, strict=True)))


def check_unwritten(client: Client, outcome: Outcome) -> None:
    """Check that ``end_round`` of outside code has left the resident model as it was.

    What a client of a stack sends are not the resident model's tensors.

    Raises
    ------
    NotStackableError
        If it has written into the model.
    """
    if not client.worker.runs_outside_code or not client.overrides("end_round"):
        return
    if any(not torch.equal(value, outcome.model[name]) for name, value in client.worker.model_state.items()):
        raise NotStackableError(
            "end_round writes into the model, instead of returning the entries to send as 'arrays'"
        )


def _stacked(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors stacked along a first dimension; often all are the same object."""
    first = values[0]
    if all(value is first for value in values):
        return first.expand(len(values), *first.shape).contiguous()
    return torch.stack(list(values))


def _signature(member: Member[Any], signatures: Signatures) -> Any:
    """Return a value that is equal for clients that may share a stack."""
    client, kept = member.client, member.optimizer
    counts = {key: float(value) for key, value in kept.items() if key.startswith(COUNT)}
    rates = tuple(client.step_rates(client.step_budget)) if client.worker.varies_by_step else ()
    return signatures.of(client), tuple(kept), tuple(counts.items()), rates


@functools.lru_cache(maxsize=64)
def _check_own(method: type[Client]) -> None:
    """Refuse a method that replaces what a stack does in its own way."""
    for name in ("train", *(name for name, value in vars(StandIn).items() if callable(value))):
        if getattr(method, name, None) is not getattr(Client, name, None):
            raise NotStackableError(f"its '{name}' replaces the one of Client, which is no hook")


@functools.lru_cache(maxsize=64)
def _cached_properties(method: type[Client]) -> list[str]:
    """Return the cached properties that a method declares."""
    return [
        name
        for cls in method.__mro__
        if issubclass(cls, Client) and cls is not Client
        for name, value in vars(cls).items()
        if isinstance(value, functools.cached_property)
    ]
