"""A SuperNode that is started again has another node id and the partition id of before."""

import numpy as np
import pytest

from common.errors import UserError
from server.messages.client_registry import ClientRegistry
from server.messages.returned_nodes import returned_clients
from tests.server.messages.test_discovery import AnsweringGrid, describes, fails


def registry() -> ClientRegistry:
    return ClientRegistry({0: 2, 1: 3}, np.array([[1, 2], [3, 4]]), True)


def test_a_returned_node_takes_its_place() -> None:
    clients = registry()
    by_node = clients.client_ids
    grid = AnsweringGrid({2: describes(0), 9: describes(1, (3, 4))})
    assert returned_clients(grid, clients, 1) == [1]
    assert clients.node_ids == {0: 2, 1: 9}
    assert by_node == {2: 0, 9: 1}
    assert returned_clients(grid, clients, 1) == []


def test_no_node_returns_while_the_old_node_is_there() -> None:
    clients = registry()
    grid = AnsweringGrid({2: describes(0), 3: describes(1), 9: describes(1, (3, 4))})
    assert returned_clients(grid, clients, 1) == []
    assert clients.node_ids == {0: 2, 1: 3}
    assert grid.sent == []


def test_a_node_that_is_none_of_the_clients_does_not_end_the_run() -> None:
    clients, said = registry(), []
    grid = AnsweringGrid({2: describes(0), 8: fails("this node has partition-id 2"), 9: describes(1, (3, 4))})
    assert returned_clients(grid, clients, 1, said.append) == [1]
    assert clients.node_ids == {0: 2, 1: 9}
    assert said == ["node 8 takes no part: this node has partition-id 2"]


def test_a_node_with_other_data_is_refused() -> None:
    grid = AnsweringGrid({2: describes(0), 9: describes(1, (3, 5))})
    with pytest.raises(UserError, match="client 1 has come back with different data"):
        returned_clients(grid, registry(), 1)


def test_other_versions_are_said_and_noted() -> None:
    clients, said = registry(), []
    clients.versions[1] = ["torch 0.1"]
    grid = AnsweringGrid({2: describes(0), 9: describes(1, (3, 4), versions=["torch 0.2"])})
    assert returned_clients(grid, clients, 1, said.append) == [1]
    assert clients.versions[1] == ["torch 0.2"]
    (line,) = said
    assert line.startswith("client 1: torch 0.2, but torch ")


def test_nobody_else_is_asked() -> None:
    grid = AnsweringGrid({2: describes(0), 3: describes(1)})
    assert returned_clients(grid, registry(), 1) == []
    assert grid.sent == []
