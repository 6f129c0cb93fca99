"""Small checkpoints and what is compared of them."""

from pathlib import Path

import torch

from common.records import Payload, Tensors
from server.checkpoints.checkpoint import Checkpoint, CheckpointStore


def checkpoint(server_round: int, clients: dict[int, Payload] | None = None) -> Checkpoint:
    return Checkpoint(
        server_round=server_round,
        arrays={"w": torch.full((2, 3), float(server_round)), "n": torch.tensor(server_round)},
        strategy=({"momentum": {"kind": "tensor", "key": "momentum"}}, {"momentum": torch.ones(1)}),
        progress={"seconds": 0.5 * server_round, "best": {}, "stopped": ""},
        config={"rounds": 9, "optimizer.learning-rate": 0.1},
        clients=clients or {},
    )


def commit(store: CheckpointStore, saved: Checkpoint) -> None:
    store.commit(saved, saved.clients.items())


def control(value: float) -> Payload:
    return {"control": {"w": torch.tensor([value])}, "head": {"layer.b": torch.tensor([[value, -value]])}}


def assert_same(actual: Checkpoint | None, expected: Checkpoint) -> None:
    assert actual is not None
    for name in ("server_round", "progress", "config"):
        assert getattr(actual, name) == getattr(expected, name)
    assert actual.strategy[0] == expected.strategy[0]
    same_section(actual.arrays, expected.arrays)
    same_section(actual.strategy[1], expected.strategy[1])
    assert set(actual.clients) == set(expected.clients)
    for client, sections in expected.clients.items():
        assert set(actual.clients[client]) == set(sections)
        for name, section in sections.items():
            same_section(actual.clients[client][name], section)


def same_section(actual: Tensors, expected: Tensors) -> None:
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype
        assert actual[name].shape == value.shape
        assert torch.equal(actual[name], value)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def latest(directory: Path) -> Checkpoint | None:
    """What another process finds."""
    return CheckpointStore(directory).load_latest()


FIRST = {0: control(1.0), 1: control(2.0)}

SECOND = {1: control(3.0)}
