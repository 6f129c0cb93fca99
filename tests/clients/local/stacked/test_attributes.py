"""Whose attributes can be stacked: the same verdict whether clients share the objects or hold equal ones."""

import torch

from clients.base import Client
from clients.local.stacked.attributes import Signatures
from clients.local.worker import Worker
from common.records import Payload
from tests.contract.test_stacked import tiny


def client(worker: Worker, client_id: int, state: Payload | None = None, **attributes: object) -> Client:
    made = Client(worker, client_id, state)
    vars(made).update(attributes)
    return made


def test_clients_are_told_apart_by_what_hooks_may_read_and_not_by_who_they_are() -> None:
    worker = Worker(tiny("fedavg"))
    shared = {"arrays": {"weight": torch.zeros(2, 3)}}
    first = client(worker, 0, received=shared)
    alike = [
        client(worker, 1, received=shared),
        client(worker, 1, received={"arrays": {"weight": torch.ones(2, 3)}}),
        client(worker, 1, received=shared, num_steps=7, finite_steps=1),  # the engine's own
    ]
    others = [
        client(worker, 1, received={"arrays": {"weight": torch.zeros(3, 2)}}),
        client(worker, 1, received={"arrays": {"weight": torch.zeros(2, 3, dtype=torch.float64)}}),
        client(worker, 1, received=shared, server_round=1),
        client(worker, 1, received=shared, server_round=False),
        client(worker, 1, received=shared, note="a method's own"),
        client(worker, 1, {"control": {"weight": torch.zeros(1)}}, received=shared),
    ]
    signatures = Signatures()
    expected = signatures.of(first)
    assert [signatures.of(other) == expected for other in alike] == [True] * len(alike)
    assert [signatures.of(other) == expected for other in others] == [False] * len(others)
    assert len({signatures.of(other) for other in others}) == len(others)
