import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict

import server.messages.waiting
from common.errors import CLIENT_MISCONFIGURED, UserError
from common.flower import NODE_UNAVAILABLE, REPLY_LOST, set_message_id
from runtimes.local_grid import LocalGrid
from server.messages.client_registry import ClientRegistry
from server.messages.cohort_grid import CohortGrid
from server.messages.discovery import discover_clients
from server.messages.exchange import exchange
from strategies.fedavg import FedAvg
from tests.strategies.messages import NodesOnly, record

Answer = Callable[[Message], Message | None]


class AnsweringGrid(NodesOnly):
    """A Grid whose nodes answer each message with a function; None is no answer."""

    def __init__(self, answers: dict[int, Answer], latest_first: bool = False) -> None:
        super().__init__(answers)
        self.answers = answers
        self.replies: dict[str, Message] = {}
        self.sent: list[Message] = []
        self.latest_first = latest_first

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        message_ids = []
        for message in messages:
            set_message_id(message, str(len(self.sent)))
            self.sent.append(message)
            message_ids.append(message.metadata.message_id)
            if reply := self.answers[message.metadata.dst_node_id](message):
                self.replies[message.metadata.message_id] = reply
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        found = [self.replies.pop(key) for key in message_ids if key in self.replies]
        return found[::-1] if self.latest_first else found


def describes(
    client_id: int,
    counts: tuple[int, ...] = (1, 2),
    keeps_state: int = 0,
    personal: tuple[str, ...] = (),
    versions: Sequence[str] = (),
) -> Answer:
    metrics = {
        "client-id": client_id,
        "keeps-state": keeps_state,
        "is-personalised": int(bool(personal)),
        "num-examples": sum(counts),
        "label-counts": list(counts),
    }
    config = ConfigRecord({"personal-names": list(personal), "versions": list(versions)})
    content = RecordDict({"metrics": MetricRecord(metrics), "config": config})
    return lambda message: Message(content, reply_to=message)


def fails(reason: str, code: int = CLIENT_MISCONFIGURED) -> Answer:
    return lambda message: Message(Error(code, reason), reply_to=message)


class TestDiscovery:
    @pytest.mark.parametrize("latest_first", [False, True])
    def test_random_node_ids_become_client_ids(self, latest_first: bool) -> None:
        answers = {9001: describes(2, (5, 6)), 17: describes(0, (1, 2)), 400: describes(1, (3, 4))}
        grid = AnsweringGrid(answers, latest_first)
        directory = discover_clients(grid, 3, timeout=1)
        assert list(directory.node_ids.items()) == [(0, 17), (1, 400), (2, 9001)]
        assert directory.client_ids == {17: 0, 400: 1, 9001: 2}
        assert directory.label_counts.tolist() == [[1, 2], [3, 4], [5, 6]]
        assert not directory.keeps_state
        assert {message.metadata.message_type for message in grid.sent} == {"query.describe"}

    def test_one_client_with_state_is_enough(self) -> None:
        answers = {2: describes(0), 3: describes(1, keeps_state=1)}
        assert discover_clients(AnsweringGrid(answers), 2, timeout=1).keeps_state

    def test_personal_names_are_learnt(self) -> None:
        answers = {2: describes(0, personal=("b", "a")), 3: describes(1, personal=("b", "a"))}
        directory = discover_clients(AnsweringGrid(answers), 2, timeout=1)
        assert directory.is_personalised
        assert set(directory.personal_names) == {"a", "b"}

    def test_two_nodes_of_one_partition_are_refused(self) -> None:
        with pytest.raises(UserError, match="two nodes have partition-id 1"):
            discover_clients(AnsweringGrid({2: describes(1), 3: describes(1)}), 2, timeout=1)

    def test_more_nodes_than_clients_are_refused(self) -> None:
        answers = {node: describes(node - 2) for node in (2, 3, 4)}
        with pytest.raises(UserError, match=r"3 nodes are connected, but clients\.count is 2"):
            discover_clients(AnsweringGrid(answers), 2, timeout=1)

    def test_fewer_nodes_are_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.messages.waiting, "_POLL_SECONDS", 0.001)
        grid = AnsweringGrid({2: describes(0), 3: describes(1)})
        views = iter([[], [2]])
        monkeypatch.setattr(grid, "get_node_ids", lambda: next(views, [3, 2]))
        assert discover_clients(grid, 2, timeout=10).node_ids == {0: 2, 1: 3}

    def test_but_not_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.messages.waiting, "_POLL_SECONDS", 0.001)
        with pytest.raises(UserError, match=r"only 1 of clients\.count = 5 nodes connected within 0 s"):
            discover_clients(AnsweringGrid({2: describes(0)}), 5, timeout=0.01)

    def test_a_client_without_node_is_named(self) -> None:
        with pytest.raises(UserError, match=r"no node answers for client 1 \(1 of 2 missing\)"):
            discover_clients(AnsweringGrid({2: describes(0), 3: describes(7)}), 2, timeout=1)

    def test_a_node_that_does_not_answer_is_missing(self) -> None:
        with pytest.raises(UserError, match="no node answers for client 1"):
            discover_clients(AnsweringGrid({2: describes(0), 3: lambda message: None}), 2, timeout=0.02)

    def test_a_node_whose_answer_was_lost_is_asked_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.messages.waiting, "_POLL_SECONDS", 0.001)
        answers, said = iter([fails("upload", REPLY_LOST[1]), fails("died", REPLY_LOST[2]), describes(1)]), []
        grid = AnsweringGrid({2: describes(0), 3: lambda message: next(answers)(message)})
        assert discover_clients(grid, 2, 10, said.append).node_ids == {0: 2, 1: 3}
        assert said.count("the answer of node 3 was lost: it is asked again") == 2

    def test_but_not_for_longer_than_the_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server.messages.waiting, "_POLL_SECONDS", 0.001)
        grid = AnsweringGrid({2: describes(0), 3: fails("died", REPLY_LOST[2])})
        with pytest.raises(UserError, match="no node has partition-id 1"):
            discover_clients(grid, 2, timeout=0.02)

    def test_what_flower_says_of_a_node_is_cut_and_names_it(self) -> None:
        said = "<class 'shutil.Error'>:<'[Errno 28] No space left on device: " + "x" * 20_000
        answers = {2: describes(0), 3: fails(said, 2)}
        with pytest.raises(UserError, match=r"^node 3 could not describe itself: .*No space left") as caught:
            discover_clients(AnsweringGrid(answers), 2, timeout=1)
        assert len(str(caught.value)) < 500

    def test_a_misconfigured_node_speaks_for_itself(self) -> None:
        answers = {2: describes(0), 3: fails("this SuperNode has no partition id")}
        with pytest.raises(UserError, match=r"^this SuperNode has no partition id$"):
            discover_clients(AnsweringGrid(answers), 2, timeout=1)


def message(node_id: int) -> Message:
    return Message(RecordDict({"config": ConfigRecord()}), dst_node_id=node_id, message_type="train")


class EchoGrid(LocalGrid):
    """Answers every message with an error, at once."""

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            yield Message(Error(1000, "echo"), reply_to=message)


def exchange_on_a_local_grid(count: int) -> int:
    grid = EchoGrid(count)
    messages = {client: message(node) for client, node in enumerate(grid.get_node_ids())}
    return sum(1 for _ in exchange(grid, messages, timeout=60))


def send_and_receive_on_a_local_grid(count: int) -> int:
    grid = EchoGrid(count)
    return sum(1 for _ in grid.send_and_receive(message(node) for node in grid.get_node_ids()))


class TestExchange:
    def test_a_reply_belongs_to_the_message_that_it_answers(self) -> None:
        grid = AnsweringGrid({2: fails("two"), 3: fails("three"), 4: fails("four")}, latest_first=True)
        messages = {client: message(client + 2) for client in range(3)}
        replies = {client: reply.error.reason for client, reply in exchange(grid, messages, timeout=1)}
        assert replies == {0: "two", 1: "three", 2: "four"}

    def test_a_message_that_the_grid_does_not_take_is_answered_at_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        grid = AnsweringGrid({node: fails("four") for node in (2, 3, 4)})
        push = grid.push_messages
        monkeypatch.setattr(grid, "push_messages", lambda messages: ["", "", push(messages)[2]])
        messages = {client: message(client + 2) for client in range(3)}
        replies = dict(exchange(grid, messages, timeout=1))
        assert [replies[client].error.code for client in (0, 1)] == [NODE_UNAVAILABLE] * 2
        assert "revoked" in str(replies[1].error.reason)
        assert replies[2].error.reason == "four"

    def test_what_never_comes_is_given_up(self) -> None:
        grid = AnsweringGrid({2: fails("two"), 3: lambda message: None})
        assert [client for client, _ in exchange(grid, {0: message(2), 1: message(3)}, timeout=0.02)] == [0]

    def test_late_replies_are_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        grid = AnsweringGrid({2: fails("two")})
        pulls = iter(range(100))
        pull = grid.pull_messages
        monkeypatch.setattr(grid, "pull_messages", lambda ids: pull(ids) if next(pulls) >= 3 else [])
        assert [client for client, _ in exchange(grid, {5: message(2)}, timeout=5)] == [5]
        # What is there already is never too late.
        assert [client for client, _ in exchange(grid, {5: message(2)}, timeout=1e-9)] == [5]

    @pytest.mark.parametrize("deadline", [70, 9.5])
    def test_it_looks_less_often_the_longer_it_waits_and_ends_in_time(
        self, deadline: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now: list[float] = [100.0]
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            now[0] += seconds

        clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
        monkeypatch.setattr("server.messages.exchange.time", clock)
        grid = AnsweringGrid({2: lambda message: None})
        assert list(exchange(grid, {0: message(2)}, timeout=70, deadline=deadline)) == []
        assert now[0] - 100 == pytest.approx(deadline)
        ends = np.cumsum(pauses)
        assert all(pause <= max(0.1, end / 20) for pause, end in zip(pauses, ends, strict=True))
        assert max(pauses) <= 2
        assert sum(ends < 2) > 20 > sum((ends > 5) & (ends < 9.5))

    @pytest.mark.parametrize("carry", [exchange_on_a_local_grid, send_and_receive_on_a_local_grid])
    def test_a_reply_costs_the_same_however_many_are_awaited(self, carry: Callable[[int], int]) -> None:
        def seconds(count: int) -> float:
            started = time.process_time()
            assert carry(count) == count
            return time.process_time() - started

        few, many = (min(seconds(count) for _ in range(2)) for count in (3_000, 24_000))
        assert many < 2.5 * 8 * few

    def test_nothing_to_send_is_nothing_to_wait_for(self) -> None:
        assert list(exchange(AnsweringGrid({}), {}, timeout=60)) == []


class TestCohortGrid:
    def test_a_strategy_addresses_the_cohort(self) -> None:
        grid = AnsweringGrid({node: fails("x") for node in range(2, 12)})
        view = CohortGrid(grid, [4, 9])
        messages = FedAvg().configure_train(1, record({"w": [1.0]}), ConfigRecord(), view)
        assert [message.metadata.dst_node_id for message in messages] == [4, 9]

    def test_it_carries_messages_like_the_whole(self) -> None:
        grid = AnsweringGrid({2: fails("two"), 3: fails("three")})
        view = CohortGrid(grid, [3])
        assert [reply.error.reason for _, reply in exchange(view, {0: message(3)}, timeout=1)] == ["three"]

    def test_a_caller_cannot_change_the_cohort(self) -> None:
        view = CohortGrid(AnsweringGrid({}), [4, 9])
        list(view.get_node_ids()).append(5)
        assert list(view.get_node_ids()) == [4, 9]


def test_a_directory_is_in_the_order_of_the_clients() -> None:
    directory = ClientRegistry({2: 10, 0: 30, 1: 20}, np.zeros((3, 2), np.int64), False)
    assert list(directory.node_ids) == [0, 1, 2]
    assert directory.client_ids == {30: 0, 20: 1, 10: 2}
