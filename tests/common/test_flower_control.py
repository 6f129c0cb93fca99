"""What a SuperLink reports of nodes and runs, as an operator reads it."""

from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.run_pb2 import Run as RunInfo
from flwr.proto.run_pb2 import RunStatus

from common.flower_control import Run, _latest, _node, registered


def test_last_seen_is_the_last_heartbeat_or_when_it_went() -> None:
    online = NodeInfo(
        node_id=7, name="north", status="online", online_until=1060.0, heartbeat_interval=30.0,
        last_activated_at="1970-01-01T00:01:00+00:00",
    )  # fmt: skip
    offline = NodeInfo(
        node_id=8, status="offline", last_activated_at="2026-01-01T10:00:00.5+00:00",
        last_deactivated_at="2026-01-01T11:00:00.5+00:00",
    )  # fmt: skip
    assert _node(online).last_seen == "1970-01-01 00:16:40"  # it counts as there for two intervals
    assert _node(offline).last_seen == "2026-01-01 11:00:00"
    assert _node(NodeInfo(node_id=9, status="registered")).last_seen == ""


def test_unregistered_nodes_are_not_registered() -> None:
    nodes = [_node(NodeInfo(node_id=1, status=status)) for status in ("registered", "unregistered", "online")]
    assert [node.status for node in registered(nodes)] == ["registered", "online"]


def test_the_latest_run_is_the_one_that_was_submitted_last() -> None:
    failed = RunStatus(status="finished", sub_status="failed", details="why")
    runs = [
        RunInfo(run_id=1, pending_at="2026-01-01T10:00:00+00:00", status=failed),
        RunInfo(run_id=2, pending_at="2026-01-01T09:59:00+00:00", status=RunStatus(status="running")),
    ]
    assert _latest(runs) == _latest(reversed(runs)) == Run("finished:failed", "why")
    assert _latest(runs[1:]) == Run("running", "")
    assert _latest([]) is None
