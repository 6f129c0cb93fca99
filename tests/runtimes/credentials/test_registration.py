"""A SuperLink and a node as processes: who is let in, and that a revoked node is thrown out."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from flwr.proto.fleet_pb2 import PullMessagesRequest, RegisterNodeFleetRequest
from flwr.proto.fleet_pb2_grpc import FleetStub
from flwr.proto.node_pb2 import Node as NodeMessage
from flwr.supercore.grpc import create_channel
from flwr.supercore.interceptors import RuntimeVersionClientInterceptor
from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes

from common.defaults import PROJECT_ROOT
from common.errors import UserError
from common.flower_control import SuperLink
from runtimes.admission import Admission
from runtimes.credentials.folder import Credentials
from runtimes.credentials.registration import register, revoke
from runtimes.flower_environment import free_ports

interceptors = pytest.importorskip(
    "flwr.client.grpc_rere_client.node_auth_client_interceptor", reason="flwr from 1.40 on"
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc"),
]


@dataclass
class Federation:
    """A running SuperLink with the credentials of nodes a, b and (never registered) c."""

    credentials: Credentials
    control: str
    fleet: str

    def statuses(self) -> dict[str, str]:
        with SuperLink(self.control, self.credentials.authority) as superlink:
            return {node.name: node.status for node in superlink.nodes()}


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    credentials = Credentials(tmp_path / "credentials")
    credentials.make([], 5)
    credentials.add_node("a")
    credentials.add_node("b")
    control, fleet = free_ports(2)
    command = [sys.executable, "-m", "runtimes.superlink", str(credentials.path)]
    options = ["--fleet", f"127.0.0.1:{fleet}", "--port", str(control)]
    with (tmp_path / "superlink.log").open("wb") as log:
        process = subprocess.Popen([*command, *options], cwd=PROJECT_ROOT, stdout=log, stderr=log)
    try:
        yield Federation(credentials, f"127.0.0.1:{control}", f"127.0.0.1:{fleet}")
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(federation: Federation) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            federation.statuses()
            return
        except UserError:
            assert time.monotonic() < deadline
            time.sleep(0.3)


def stub(federation: Federation) -> tuple[FleetStub, bytes]:
    """Return a connection with a key that nobody has registered, as a node without one makes itself."""
    private, public = generate_key_pairs()
    channel = create_channel(
        server_address=federation.fleet,
        insecure=False,
        root_certificates=federation.credentials.authority.read_bytes(),
        interceptors=[
            RuntimeVersionClientInterceptor(component_name="SuperNode"),
            interceptors.NodeAuthClientInterceptor(private, public),
        ],
    )
    return FleetStub(channel), public_key_to_bytes(public)


def test_only_registered_keys_take_part_and_a_revoked_one_no_more(federation: Federation) -> None:
    credentials = federation.credentials
    wait_for(federation)
    lines = register(credentials, federation.control)
    assert [line.partition(",")[0] for line in lines] == ["registered: a", "registered: b"]
    again = register(credentials, federation.control)
    assert [line.partition(",")[0] for line in again] == ["registered already: a", "registered already: b"]
    credentials.add_node("c")

    Admission(federation.fleet, credentials.node("a")).check(patience=30)
    with pytest.raises(UserError, match=r"does not know the key .*nodes/c/key: it was never registered"):
        Admission(federation.fleet, credentials.node("c")).check(patience=0)
    with pytest.raises(UserError, match="'localhost'"):
        Admission(federation.fleet.replace("127.0.0.1", "localhost"), credentials.node("a")).check(patience=0)

    # A node without a key of its own registers one that it has just made; with it, it takes another's id.
    fleet, public = stub(federation)
    with pytest.raises(grpc.RpcError, match="must be registered via the CLI"):
        fleet.RegisterNode(RegisterNodeFleetRequest(public_key=public))
    with SuperLink(federation.control, credentials.authority) as superlink:
        node_id = next(node.node_id for node in superlink.nodes() if node.name == "a")
    with pytest.raises(grpc.RpcError, match="Invalid node ID"):
        fleet.PullMessages(PullMessagesRequest(node=NodeMessage(node_id=node_id)))
    assert federation.statuses() == {"a": "registered", "b": "registered"}  # nobody has been online

    command = [
        sys.executable,
        "-m",
        "runtimes.node",
        str(credentials.node("b")),
        "--superlink",
        federation.fleet,
    ]
    options = ["--partition-id", "0", "--num-partitions", "1", "--port", str(free_ports(1)[0])]
    node = subprocess.Popen(
        [*command, *options], cwd=PROJECT_ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    watchdog = threading.Timer(150, node.kill)
    watchdog.start()
    try:
        assert node.stdout is not None
        while "SuperNode ID" not in (line := node.stdout.readline()):
            assert line, "the node ended early"
        assert federation.statuses() == {"a": "registered", "b": "online"}
        key = credentials.node("b") / "key"
        kept = key.read_bytes()
        assert "refuses it from now on" in revoke(credentials, "b", federation.control)[0]
        output = node.stdout.read()
        assert node.wait() == 2
        assert output.splitlines()[-1].startswith("error: the SuperLink at ")
        assert output.splitlines()[-1].endswith("no longer takes this node: its key was revoked")
        assert "Traceback" not in output
    finally:
        watchdog.cancel()
        node.kill()
        node.wait()
    assert federation.statuses() == {"a": "registered", "b": "unregistered"}
    # Its machine still has the key, which does not help.
    key.parent.mkdir(mode=0o700)
    key.write_bytes(kept)
    key.chmod(0o600)
    (key.parent / "ca.pem").write_bytes(credentials.authority.read_bytes())
    with pytest.raises(UserError, match="it was revoked"):
        Admission(federation.fleet, credentials.node("b")).check(patience=0)
