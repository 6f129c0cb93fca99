"""Waiting for nodes: what is said, and when it ends."""

import pytest

import server.messages.waiting
from common.errors import UserError
from common.flower import NODE_UNAVAILABLE, is_simulation
from server.messages.discovery import discover_clients
from server.messages.waiting import count_nodes
from tests.server.messages.test_discovery import AnsweringGrid, describes, fails


class InMemoryGrid(AnsweringGrid):
    """One whose nodes are all there from the start, named as Flower's own."""


class TestWaiting:
    @pytest.fixture(autouse=True)
    def _polls_quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.messages.waiting, "_POLL_SECONDS", 0.001)

    def test_it_says_at_once_who_is_missing_and_now_and_then_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server.messages.waiting, "_SECONDS_BETWEEN_LINES", 0.1)
        lines: list[str] = []
        with pytest.raises(UserError, match=r"only 1 of clients.count = 3 nodes .* partition-id 0, 2"):
            discover_clients(AnsweringGrid({7: describes(1)}), 3, 0.35, lines.append)
        assert 3 <= len(lines) <= 4
        assert "1 of clients.count = 3 are there; no node has partition-id 0, 2" in lines[0]

    @pytest.mark.timeout(60)
    def test_a_simulation_fails_at_once_with_both_numbers(self) -> None:
        grid = InMemoryGrid({node: describes(node) for node in range(10)})
        with pytest.raises(UserError, match=r"has 10 nodes, but clients.count is 20.*num-supernodes=20"):
            discover_clients(grid, 20, timeout=3600)
        with pytest.raises(UserError, match=r"has 10 nodes, but clients.count is 5"):
            discover_clients(grid, 5, timeout=3600)

    def test_flowers_grid_of_a_simulation_is_known(self) -> None:
        from flwr.superlink.grid import InMemoryGrid as FlowersOwn

        assert is_simulation(FlowersOwn.__new__(FlowersOwn))
        assert not is_simulation(AnsweringGrid({}))

    def test_nodes_that_are_there_are_counted_when_no_more_come(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grid = AnsweringGrid({})
        views = iter([[], [2], [2, 3, 4]])
        monkeypatch.setattr(grid, "get_node_ids", lambda: next(views, [2, 3, 4]))
        lines: list[str] = []
        assert count_nodes(grid, 10, lines.append) == 3
        assert "waiting for a first node" in lines[0]

    def test_nobody_is_not_counted_for_ever(self) -> None:
        with pytest.raises(UserError, match="no node connected within 0 s"):
            count_nodes(AnsweringGrid({}), 0.01, lambda text: None)

    def test_a_node_that_has_gone_makes_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = {2: describes(0), 3: fails("gone", NODE_UNAVAILABLE), 9: describes(1)}
        grid = AnsweringGrid(answers)
        views = iter([[2, 3], [2]])
        monkeypatch.setattr(grid, "get_node_ids", lambda: next(views, [2, 9]))
        lines: list[str] = []
        assert discover_clients(grid, 2, 10, lines.append).node_ids == {0: 2, 1: 9}
