"""The operator's view of a SuperLink: nodes and runs (flwr 1.39's Control API, internal to Flower)."""

import ssl
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from flwr.common.constant import HEARTBEAT_PATIENCE
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    UnregisterNodeRequest,
)
from flwr.proto.node_pb2 import NodeInfo
from flwr.proto.run_pb2 import Run as RunInfo
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.error import FlowerError
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor

from common.certificate_refusal import refusal, verification_error
from common.errors import UserError


@dataclass(frozen=True)
class Node:
    """A SuperNode that a SuperLink knows.

    Attributes
    ----------
    node_id : int
        Flower's id.
    name : str
        The name under which it was registered, if any.
    status : str
        ``registered`` (never seen), ``online``, ``offline`` or ``unregistered``.
    last_seen : str
        Time of its last heartbeat or of its departure, in UTC; empty if never.
    public_key : bytes
        Its public key, PEM.
    """

    node_id: int
    name: str
    status: str
    last_seen: str
    public_key: bytes


@dataclass(frozen=True)
class Run:
    """A run that was submitted to a SuperLink.

    Attributes
    ----------
    status : str
        As ``flwr list`` shows it: ``pending``, ``starting``, ``running``, ``finished:completed``,
        ``finished:failed`` or ``finished:stopped``.
    details : str
        Why it failed; empty if it did not.
    """

    status: str
    details: str


class SuperLink:
    """A connection to the Control API of a SuperLink; use it as a context manager.

    Parameters
    ----------
    address : str
        Host and port of its HTTP API.
    authority : Path, optional
        Certificate of the authority that signed the SuperLink's; without one the connection is not encrypted.
    """

    def __init__(self, address: str, authority: Path | None) -> None:
        self.address = address
        verify: ssl.SSLContext | bool = False
        if authority is not None:
            try:
                verify = ssl.create_default_context(cafile=str(authority))
            except (OSError, ssl.SSLError) as error:
                raise UserError(f"cannot use {authority} as the authority's certificate: {error}") from None
        scheme = "https" if authority else "http"
        self._client = ControlHttpClient(
            f"{scheme}://{address}",
            interceptors=[RuntimeVersionHttpInterceptor(component_name="flwr CLI")],
            verify=verify,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        if refused := verification_error(error):
            raise UserError(refusal(self.address, refused)) from None
        if isinstance(error, httpx.TransportError):
            raise UserError(
                f"no SuperLink answers at {self.address} ({_first_line(error)}): start it, or give"
                " --superlink the address of its HTTP API (flower-superlink --host --port)"
            ) from None
        if isinstance(error, FlowerError | httpx.HTTPStatusError):
            raise UserError(f"the SuperLink at {self.address} refuses: {_first_line(error)}") from None

    def nodes(self) -> list[Node]:
        """Return all nodes that are or were registered, oldest first."""
        answer = self._client.ListNodes(ListNodesRequest())
        return [_node(info) for info in sorted(answer.nodes_info, key=lambda info: info.registered_at)]

    def latest_run(self) -> Run | None:
        """Return the run that was submitted last; None if there was none."""
        return _latest(self._client.ListRuns(ListRunsRequest()).run_dict.values())

    def register(self, name: str, public_key: bytes) -> int:
        """Register a node by its public key; return its id."""
        answer = self._client.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name))
        return int(answer.node_id)

    def unregister(self, node_id: int) -> None:
        """Unregister a node, which is refused from then on."""
        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))


def registered(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that may take part."""
    return [node for node in nodes if node.status != "unregistered"]


def _node(info: NodeInfo) -> Node:
    seen = max(info.last_activated_at, info.last_deactivated_at)
    if info.status == "online" and info.online_until:
        seen = time.strftime(
            "%Y-%m-%dT%H:%M:%S", time.gmtime(info.online_until - HEARTBEAT_PATIENCE * info.heartbeat_interval)
        )
    return Node(info.node_id, info.name, info.status, seen[:19].replace("T", " "), bytes(info.public_key))


def _latest(runs: Iterable[RunInfo]) -> Run | None:
    latest = max(runs, key=lambda run: run.pending_at, default=None)
    if latest is None:
        return None
    parts = latest.status.status, latest.status.sub_status
    return Run(":".join(filter(None, parts)), latest.status.details)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
