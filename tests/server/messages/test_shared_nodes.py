"""Nodes that serve several clients: the same run, in as many messages as there are nodes."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from clients.app import app
from common.bundle import BUNDLE, Answer, pack_answers
from common.config import Config
from common.errors import CLIENT_FAILED, UserError
from common.flower import NODE_UNAVAILABLE, RUN_ID, set_message_id
from common.sections import Value
from runtimes.sequential import make_context
from server.experiment import run_experiment
from server.messages import shared_nodes
from server.messages.exchange import exchange
from server.messages.shared_nodes import SharedNodes, node_of, partitions
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.strategies.messages import NodesOnly
from tests.system.commands import summary

FIRST = 2**63 + 5  # as large as Flower's ids are


class Nodes(NodesOnly):
    """Nodes with the project's ClientApp, that answer at once."""

    def __init__(self, count: int, run_config: dict[str, Value]) -> None:
        super().__init__(range(FIRST, FIRST + count))
        self.contexts: dict[int, Context] = {}
        for index, node_id in enumerate(self.node_ids):
            self.contexts[node_id] = make_context(index, count, run_config, node_id)
            self.contexts[node_id].run_id = RUN_ID + 1
        self.sent: list[Message] = []
        self.replies: dict[str, Message] = {}
        self.gone: set[int] = set()

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        assert all(
            message.has_content() for message in messages
        )  # Flower's Grid goes through them first, too
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        message_id = str(len(self.sent))
        set_message_id(message, message_id)
        self.sent.append(message)
        node_id = message.metadata.dst_node_id
        gone = Message(Error(NODE_UNAVAILABLE, "gone"), reply_to=message)
        self.replies[message_id] = gone if node_id in self.gone else app(message, self.contexts[node_id])
        return message_id

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self.replies.pop(name) for name in list(message_ids) if name in self.replies]


def shared(config: Config) -> SharedNodes:
    places = config.resources.clients_per_node
    return SharedNodes(Nodes(config.clients.count // places, dict(config.flat())), places)


@pytest.mark.parametrize("method", ["fedavg", "scaffold"])
def test_a_run_has_the_bits_of_one_with_a_node_for_each_client(
    run_small: Runner, tmp_path: Path, method: str
) -> None:
    options = {"method__name": method, "rounds": 3, "clients__evaluate_fraction": 0.5}
    config = small_config(tmp_path / "shared", resources__clients_per_node=3, **options)
    grid = shared(config)
    path = run_experiment(config, grid, PlainLines())
    alone = run_small("alone", **options)
    assert summary(path)["model_sha256"] == summary(alone)["model_sha256"]
    numbers = [name for name in pd.read_csv(path / "metrics.csv") if "accuracy" in name or "loss" in name]
    assert pd.read_csv(path / "metrics.csv")[numbers].equals(pd.read_csv(alone / "metrics.csv")[numbers])
    assert (
        pd.read_csv(path / "nodes.csv", dtype=str)["node_id"].tolist()
        == [str(FIRST)] * 3 + [str(FIRST + 1)] * 3
    )
    trained = [message for message in grid.carrier.sent if message.metadata.message_type == "train"]  # type: ignore[attr-defined]
    assert len(trained) <= 2 * 3


def test_it_resumes_with_nodes_of_another_number_of_clients(run_small: Runner, tmp_path: Path) -> None:
    options = {"method__name": "scaffold", "checkpoint__every": 1}
    expected = summary(run_small("whole", rounds=4, **options))["model_sha256"]
    for rounds, places in ((2, 3), (4, 2)):
        config = small_config(
            tmp_path / "run",
            rounds=rounds,
            resources__clients_per_node=places,
            run__resume=rounds == 4,
            **options,
        )
        run_experiment(config, shared(config), PlainLines())
    assert summary(tmp_path / "run")["model_sha256"] == expected


class TestSharedNodes:
    CONFIG = small_config(resources__clients_per_node=3)

    def ask(self, grid: SharedNodes, clients: Iterable[int]) -> dict[int, Message]:
        """Ask clients who they are."""
        nodes = list(grid.get_node_ids())
        content = RecordDict({"config": ConfigRecord({})})
        messages = {
            client: Message(content, dst_node_id=nodes[client], message_type="query.describe")
            for client in clients
        }
        return dict(exchange(grid, messages, timeout=1))

    def test_each_client_is_a_node_and_those_of_one_node_are_asked_at_once(self) -> None:
        grid = shared(self.CONFIG)
        replies = self.ask(grid, [4, 0, 2, 5])
        found = {client: reply.content["metrics"]["client-id"] for client, reply in replies.items()}
        assert found == {4: 4, 0: 0, 2: 2, 5: 5}
        assert [node_of(grid, node) for node in grid.get_node_ids()] == [FIRST] * 3 + [FIRST + 1] * 3
        assert len(grid.carrier.sent) == 2  # type: ignore[attr-defined]
        assert partitions(grid, [5, 3, 0]) == [0, 1]

    def test_messages_of_large_models_are_cut_into_several(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shared_nodes, "LARGEST_BUNDLE", 0)
        grid = shared(self.CONFIG)
        assert set(self.ask(grid, range(6))) == set(range(6))
        assert len(grid.carrier.sent) == 6  # type: ignore[attr-defined]

    def test_a_node_that_has_gone_is_all_of_its_clients(self) -> None:
        grid = shared(self.CONFIG)
        grid.carrier.gone.add(FIRST + 1)  # type: ignore[attr-defined]
        replies = self.ask(grid, [1, 3, 4])
        assert {client: reply.has_error() and reply.error.code for client, reply in replies.items()} == {
            1: False, 3: NODE_UNAVAILABLE, 4: NODE_UNAVAILABLE,
        }  # fmt: skip

    def test_a_bundle_that_the_grid_does_not_take_is_answered_for_all_of_its_clients(self) -> None:
        grid = shared(self.CONFIG)
        push = grid.carrier._push  # type: ignore[attr-defined]
        grid.carrier._push = lambda message: push(message) if message.metadata.dst_node_id == FIRST else ""  # type: ignore[attr-defined]
        replies = self.ask(grid, [1, 3, 4])
        assert {client: reply.has_error() and reply.error.code for client, reply in replies.items()} == {
            1: False, 3: NODE_UNAVAILABLE, 4: NODE_UNAVAILABLE,
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (RecordDict(), "lists no places"),
            (RecordDict({BUNDLE: ConfigRecord({"places": [0], "codes": [], "reasons": []})}), "do not fit"),
            (pack_answers({2: Answer(RecordDict())}), "has not answered"),
        ],
    )
    def test_what_a_node_answers_badly_is_an_error_of_each_client(
        self, content: RecordDict, reason: str
    ) -> None:
        grid = shared(self.CONFIG)

        def bad(message: Message) -> str:
            message_id = Nodes._push(grid.carrier, message)  # type: ignore[arg-type]
            grid.carrier.replies[message_id] = Message(content, reply_to=message)  # type: ignore[attr-defined]
            return message_id

        grid.carrier._push = bad  # type: ignore[attr-defined]
        replies = self.ask(grid, [0, 1])
        assert {reply.error.code for reply in replies.values()} == {CLIENT_FAILED}
        assert all(reason in reply.error.reason for reply in replies.values())

    def test_a_second_reply_is_for_nobody(self) -> None:
        grid = shared(self.CONFIG)
        assert self.ask(grid, [0])
        message = grid.carrier.sent[0]  # type: ignore[attr-defined]
        grid.carrier.replies["0"] = app(message, grid.carrier.contexts[FIRST])  # type: ignore[attr-defined]
        assert not list(grid.pull_messages(["0/0"]))


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"clients__count": 7, "resources__clients_per_node": 3}, "clients.count = 7 is not a multiple"),
        ({"partition__name": "node", "resources__clients_per_node": 3}, "partition.name = 'node'"),
    ],
)
def test_what_nodes_cannot_share_is_said(keys: dict[str, Value], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        small_config(**keys)
