"""FedLoGe's local heads: they stay with their clients, and are in no message."""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from clients.app import app
from clients.fedloge import FedLoGe
from clients.local.worker import Worker
from common.records import ARRAYS, CONFIG, METRICS, Payload, Tensors, to_payload, to_record, to_tensors
from runtimes.sequential import SequentialGrid
from strategies.fedloge import FedLoGe as FedLoGeServer
from tests.clients.jobs import equal, small
from tests.methods.fedloge import federation, same

pytestmark = pytest.mark.usefixtures("few_head_steps")


def test_a_local_head_matters_to_its_client_alone() -> None:
    model, psi, phi = federation()
    other_model, other_psi, other_phi = federation(shift={1: 0.5})
    assert same(model, other_model)
    assert same(psi, other_psi)
    assert same(phi[0], other_phi[0])
    assert not same(phi[1], other_phi[1])


def test_local_heads_differ_between_clients_and_are_the_same_whenever_made() -> None:
    worker = Worker(small())
    heads = [FedLoGe(worker, client_id).init_state()["local-head"] for client_id in (0, 1, 0)]
    assert same(heads[0], heads[2])
    assert not same(heads[0], heads[1])
    assert heads[0]["weight"].norm(dim=1).mean().item() == pytest.approx(3**-0.5, abs=0.05)


CONFIGURATION = small(method__name="fedloge", local__steps=2, optimizer__momentum=0.5, clients__count=2)

ALICE, BOB = 2, 3  # node ids of clients 0 and 1


class AskedFederation:
    """Rounds of chosen clients, which remember every message and the clients' own heads."""

    def __init__(self) -> None:
        self.grid = SequentialGrid(app, 2, CONFIGURATION.flat())
        self.server = FedLoGeServer(head_steps=5)
        initial = Worker(CONFIGURATION).model_state
        self.model = self.server.initial_model({k: v.clone() for k, v in initial.items()}, 0)
        self.messages: list[RecordDict] = []
        self.server_round = 0

    def _carry(self, messages: Sequence[Message]) -> list[Message]:
        replies = list(self.grid.send_and_receive(messages))
        assert not any(reply.has_error() for reply in replies)
        self.messages += [message.content for message in (*messages, *replies)]
        return replies

    def train(self, *cohort: int) -> Payload:
        """Run a round and return what its clients were sent."""
        self.server_round += 1
        nodes = SimpleNamespace(get_node_ids=lambda: cohort)
        config = ConfigRecord({"server-round": self.server_round})
        messages = list(
            self.server.configure_train(self.server_round, to_record(self.model), config, nodes)  # type: ignore[arg-type]
        )
        received = to_payload(messages[0].content)
        arrays, _ = self.server.aggregate_train(self.server_round, self._carry(messages))
        assert arrays is not None
        self.model = {**self.model, **to_tensors(arrays)}
        return received

    def evaluate(self, node: int) -> tuple[Payload, MetricRecord]:
        """Evaluate one client; return what it was sent and its metrics."""
        nodes = SimpleNamespace(get_node_ids=lambda: [node])
        config = ConfigRecord({"server-round": self.server_round})
        messages = list(
            self.server.configure_evaluate(self.server_round, to_record(self.model), config, nodes)  # type: ignore[arg-type]
        )
        (reply,) = self._carry(messages)
        return to_payload(messages[0].content), reply.content.metric_records[METRICS]

    def local_head(self, node: int) -> Tensors:
        """Return the head that a client keeps, as a checkpoint does."""
        content = RecordDict({CONFIG: ConfigRecord()})
        message = Message(content, dst_node_id=node, message_type=f"{MessageType.QUERY}.get_state")
        (reply,) = self.grid.send_and_receive([message])
        return {name: value.clone() for name, value in to_payload(reply.content)["local-head"].items()}


def test_local_heads_go_on_where_they_were_and_stay_with_their_clients() -> None:
    federation = AskedFederation()
    federation.train(ALICE, BOB)
    heads = [(federation.local_head(ALICE), federation.local_head(BOB))]
    for _ in range(2):
        received = federation.train(ALICE)
        heads.append((federation.local_head(ALICE), federation.local_head(BOB)))
        # The same round of a client that is handed its head, and of one that begins.
        ends = []
        for state in ({"local-head": heads[-2][0]}, {}):
            client = FedLoGe(Worker(CONFIGURATION), 0, dict(state))
            client.train(received, ConfigRecord({"server-round": federation.server_round}))
            ends.append(client.state["local-head"])
        assert equal(heads[-1][0], ends[0])
        assert not equal(heads[-1][0], ends[1])
        assert equal(heads[-1][1], heads[0][1])  # of a client that was not asked
    initial = FedLoGe(Worker(CONFIGURATION), 1).init_state()["local-head"]
    assert not equal(heads[0][1], initial)
    # It predicts with the head that it has, and the new backbone.
    received, metrics = federation.evaluate(BOB)
    losses = []
    for head in (heads[0][1], initial):
        client = FedLoGe(Worker(CONFIGURATION), 1, {"local-head": head})
        losses.append(client.test(received, ConfigRecord({"server-round": 3}))["personal_loss"])
    assert metrics["personal_loss"] == losses[0] != losses[1]
    assert equal(federation.local_head(BOB), heads[0][1])


def test_local_heads_are_in_no_message() -> None:
    federation = AskedFederation()
    private = [FedLoGe(Worker(CONFIGURATION), client).init_state()["local-head"] for client in (0, 1)]
    for cohort in ((ALICE, BOB), (ALICE,)):
        federation.train(*cohort)
        private += [federation.local_head(ALICE), federation.local_head(BOB)]
        federation.evaluate(BOB)
    secrets = [value.numpy() for head in private for value in head.values()]
    trained, evaluated = 0, 0
    for content in federation.messages:
        names = set(content.array_records)
        assert names in ({ARRAYS, "head"}, set())
        trained, evaluated = trained + bool(names), evaluated + (not names)
        for record in content.array_records.values():
            for array in map(np.asarray, to_tensors(record).values()):
                assert not any(np.array_equal(array, secret) for secret in secrets)
    assert (trained, evaluated) == (2 * 3 + 2, 2)  # with arrays: training both ways, evaluation one way
