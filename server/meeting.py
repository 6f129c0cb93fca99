"""Meets the clients of a run: all of them, or a few that represent the others."""

import functools
from typing import Protocol, runtime_checkable

import numpy as np
from flwr.serverapp import Grid

from common.config import Config
from common.device import resolve_device
from datasets.dataset import Dataset
from datasets.partition import IndexArray
from datasets.partition_report import label_counts
from datasets.partition_scheme import partition_clients
from server.messages.client_registry import ClientRegistry
from server.messages.description import Description, device_remarks
from server.messages.discovery import Check, describe, discover_clients
from server.messages.same_data import SameData
from server.messages.waiting import Say


@runtime_checkable
class AlikeNodes(Protocol):
    """A Grid whose nodes all have the server's configuration and data."""

    @property
    def alike_nodes(self) -> range:
        """The node ids of client 0, 1, ..., which stay for the whole run."""


def meet_clients(config: Config, grid: Grid, dataset: Dataset, say: Say = print) -> ClientRegistry:
    """Return the clients of a run.

    If all nodes have the server's configuration and data, only the first, the smallest and the largest client
    are asked: what the others hold follows from the partition, which the server has as well.

    Raises
    ------
    UserError
        As `discover_clients`.
    """
    count = config.clients.count
    is_alike = isinstance(grid, AlikeNodes) and len(grid.alike_nodes) == count
    same_machine = is_alike and not config.ray.address
    check = functools.partial(SameData(config, dataset).check, same_machine=same_machine)
    deals = config.partition.name != "node"
    if is_alike and deals and (found := _speak_for_all(config, grid, dataset, say, check)):
        return found
    device = resolve_device(config.device).type
    return discover_clients(grid, count, config.failures.timeout, say, device, check)


def _speak_for_all(
    config: Config, grid: Grid, dataset: Dataset, say: Say, check: Check
) -> ClientRegistry | None:
    """Return the clients according to the partition; None if the answers disagree with it."""
    assert isinstance(grid, AlikeNodes)
    nodes, sizes = grid.alike_nodes, partition_clients(config, dataset).sizes
    counts = client_counts(config, dataset)
    asked = sorted({0, int(sizes.argmin()), int(sizes.argmax())})
    answers = list(
        describe(grid, [nodes[client] for client in asked], config.clients.count, config.failures.timeout)
    )
    if len(answers) < len(asked) or not all(_agrees(answer, nodes, sizes, counts) for answer in answers):
        return None
    for remark in (*check(answers), *device_remarks(answers, resolve_device(config.device).type)):
        say(remark)
    return ClientRegistry(
        nodes,
        counts,
        any(answer.keeps_state for answer in answers),
        any(answer.is_personalised for answer in answers),
        {name for answer in answers for name in answer.personal_names},
        sizes,
    )


def client_counts(config: Config, dataset: Dataset) -> IndexArray:
    """Return what clients report as their label counts: int64, (clients, classes).

    No classes if ``clients.report-labels`` is false.
    """
    partition = partition_clients(config, dataset)
    if not config.clients.report_labels:
        return np.zeros((len(partition.sizes), 0), np.int64)
    if dataset.is_regression:
        return partition.sizes[:, np.newaxis]
    return label_counts(dataset.train.targets.numpy(), partition, dataset.num_classes)


def _agrees(answer: Description, nodes: range, sizes: IndexArray, counts: IndexArray) -> bool:
    client = answer.client_id
    return (
        client in range(len(nodes))
        and nodes[client] == answer.node_id
        and answer.num_examples == sizes[client]
        and answer.label_counts == counts[client].tolist()
    )
