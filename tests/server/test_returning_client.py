"""Clients whose node is started again, and nodes that know how many they are."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from flwr.app import ConfigRecord, Context, Error, Message, RecordDict

from clients.app import answer, app
from clients.node.client import meet
from common.config import Config
from common.config_values import merge
from common.errors import CLIENT_MISCONFIGURED, ClientFailureError, UserError
from common.flower import NODE_UNAVAILABLE, RUN_ID, assume_task_identity
from runtimes.sequential import SequentialGrid
from server.experiment import run_experiment
from server.records.progress import PlainLines
from tests.conftest import Runner, small_config
from tests.system.commands import summary

VICTIM = 1  # a client, and what its node adds to its id when it is started again
SHIFT = 1000


class RestartedNode(SequentialGrid):
    """The node of a client is killed after the first round and comes back with another id and no state."""

    has_trained = is_back = False
    dies_for_good = False
    alike_nodes = range(0)  # they come and go

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Carry messages, but not to a node that has gone."""
        self.has_trained |= messages[0].metadata.message_type == "train"
        node_ids = [node for node in super().get_node_ids() if self.client_id(node) == VICTIM]
        for message in messages:
            if self.is_back and message.metadata.dst_node_id in node_ids:
                yield Message(Error(NODE_UNAVAILABLE, "gone"), reply_to=message)
            else:
                yield from super().exchange([message])

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids, from the second round on with the new one instead of the old."""
        self.is_back |= self.has_trained
        for node in super().get_node_ids():
            if not self.is_back or self.client_id(node) != VICTIM:
                yield node
            elif not self.dies_for_good:
                yield node + SHIFT

    @staticmethod
    def client_id(node_id: int) -> int:
        """Return the partition id of a node."""
        return SequentialGrid.client_id(node_id % SHIFT)


class LostNode(RestartedNode):
    """The node is killed and does not come back."""

    dies_for_good = True


class ForgetfulNode(SequentialGrid):
    """The node of a client is killed after the first round and comes back under its id: it has a key."""

    rounds = 0
    forgot = False

    def _context(self, node_id: int) -> Context:
        context = super()._context(node_id)
        context.run_id = RUN_ID + 1  # as under Flower's own runtimes, whose nodes may be started again
        if self.rounds == 2 and self.client_id(node_id) == VICTIM and not self.forgot:
            self.forgot = True
            context.state.clear()
        else:
            meet(context)
        return context

    @property
    def alike_nodes(self) -> range:
        """None: each node is asked."""
        return range(0)

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Carry messages; in the second round the victim knows nothing any more."""
        if messages[0].metadata.message_type == "train":
            self.rounds += 1
        return super().exchange(messages)


OPTIONS = {"method__name": "scaffold", "clients__fraction": 1.0, "rounds": 3}


def test_it_is_taken_back_with_its_state_of_the_last_checkpoint(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = run_small("alone", **OPTIONS, checkpoint__every=1)
    path = run_small("restarted", RestartedNode, **OPTIONS, checkpoint__every=1)
    assert (
        "client 1 is back with a new node, with its state of the last checkpoint" in capsys.readouterr().out
    )
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
    node_ids = pd.read_csv(path / "nodes.csv")["node_id"]
    assert node_ids[VICTIM] > SHIFT > node_ids[0]


@pytest.mark.parametrize("method", ["scaffold", "fedper"])
def test_one_that_kept_its_id_is_given_its_state_too(
    run_small: Runner, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    options = {**OPTIONS, "method__name": method, "checkpoint__every": 1}
    expected = run_small("alone", **options)
    path = run_small("restarted", ForgetfulNode, **options)
    said = "client 1 is back: its node was started again, with its state of the last checkpoint"
    assert said in capsys.readouterr().out
    assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]


def test_it_may_not_come_back_as_another_client(run_small: Runner) -> None:
    class Other(ForgetfulNode):
        def _context(self, node_id: int) -> Context:
            context = super()._context(node_id)
            if self.forgot and self.client_id(node_id) == VICTIM:
                context.node_config["partition-id"] = 0
            return context

    with pytest.raises(UserError, match="the node of client 1 has come back as client 0"):
        run_small("restarted", Other, **OPTIONS | {"method__name": "scaffold"})


def test_it_is_said_when_its_state_is_lost(run_small: Runner, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_small("restarted", RestartedNode, **OPTIONS, checkpoint__every=10)
    assert "client 1 is back with a new node, without what it had kept" in capsys.readouterr().out
    assert summary(path)["rounds"] == 3


def test_a_lost_node_does_not_end_a_run_that_drops_failures(
    run_small: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**OPTIONS, "checkpoint__every": 2, "failures__max_fraction": 0.5}
    path = run_small("dropped", LostNode, **options, failures__policy="drop")
    assert summary(path)["rounds"] == 3
    printed = capsys.readouterr().out
    assert "round 2: dropped client 1 (gone)" in printed
    assert "no answer to 'get_state' from client 1: gone, and left out" in printed


def test_the_policy_for_failures_may_change_on_resume(tmp_path: Path) -> None:
    def start(grid_class: type[SequentialGrid], **overrides: object) -> Path:
        config = small_config(tmp_path / "run", **OPTIONS, checkpoint__every=1, **overrides)
        return run_experiment(config, grid_class(app, 6, config.flat()), PlainLines())

    with pytest.raises(ClientFailureError, match="client 1 failed in round 2:\ngone"):
        start(LostNode)
    changed = {"failures__policy": "drop", "failures__max_fraction": 0.5, "failures__timeout": 5.0}
    assert summary(start(SequentialGrid, run__resume=True, **changed))["rounds"] == 3


class TestCountOfNodes:
    """``clients.count = 0``."""

    def ask(self, node_config: dict[str, int], num_clients: int = 3) -> Message:
        assume_task_identity()
        run_config = small_config(clients__count=0).flat()
        context = Context(1, 2, node_config, RecordDict(), dict(run_config))  # type: ignore[arg-type]
        content = RecordDict({"config": ConfigRecord({"num-clients": num_clients})})
        return answer(Message(content, dst_node_id=2, message_type="query.describe"), context)

    def test_nodes_know_it(self) -> None:
        reply = self.ask({"partition-id": 2, "num-partitions": 3})
        assert reply.content.metric_records["metrics"]["client-id"] == 2

    @pytest.mark.parametrize(
        ("node_config", "said"),
        [
            (
                {"partition-id": 2},
                "every node has to know how many there are: start this SuperNode with --node-config",
            ),
            ({"partition-id": 2, "num-partitions": 4}, "one of num-partitions = 4, but 3 nodes are there"),
            ({"partition-id": 3, "num-partitions": 3}, "partition-id 3, but clients.count is 3"),
        ],
    )
    def test_or_say_what_is_wrong(self, node_config: dict[str, int], said: str) -> None:
        reply = self.ask(node_config)
        assert reply.error.code == CLIENT_MISCONFIGURED
        assert said in str(reply.error.reason)

    def test_a_run_takes_the_nodes_that_are_there(self, run_small: Runner, tmp_path: Path) -> None:
        expected = run_small("counted")
        config = small_config(tmp_path / "run", clients__count=0)
        path = run_experiment(config, SequentialGrid(app, 6, config.flat()), PlainLines())
        assert summary(path)["model_sha256"] == summary(expected)["model_sha256"]
        assert summary(path)["config"]["clients.count"] == 6

    def test_the_command_line_makes_its_nodes(self) -> None:
        from run_simulation import parse_arguments
        from runtimes.launch import launch

        with pytest.raises(UserError, match=r"clients.count = 0 .* set clients.count"):
            launch(parse_arguments(["--set", "clients.count=0"]))
        with pytest.raises(UserError, match=r"clients.count"):
            Config.from_flat(merge({"clients.count": -1}))
