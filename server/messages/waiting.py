"""Waits for the nodes of a run."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from flwr.serverapp import Grid

from common.errors import UserError
from common.flower import is_simulation
from server.messages.shared_nodes import partitions

Say = Callable[[str], None]

_POLL_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 30.0
# A node that was killed is listed until it has missed its heartbeats.
_GONE_SECONDS = 90.0
_MAX_NAMED = 10


@dataclass
class Waiting:
    """Waits for nodes up to a timeout, and reports meanwhile.

    Parameters
    ----------
    grid : Grid
        The Grid on which nodes appear.
    num_clients : int
        How many are expected; 0: as many as there are.
    timeout : float
        Seconds to wait.
    say : callable
        Prints a line for the user.
    """

    grid: Grid
    num_clients: int
    timeout: float
    say: Say
    _started: float = field(default_factory=time.monotonic)
    _said: float = float("-inf")
    _last: int = -1

    def nodes(self) -> list[int]:
        """Return the ids of the nodes that are there, ascending.

        Raises
        ------
        UserError
            If there are too many, or a simulation, whose nodes are all there from the start, has too few.
        """
        while True:
            nodes = sorted(self.grid.get_node_ids())
            settled, self._last = len(nodes) == self._last, len(nodes)
            if self.num_clients == 0 or len(nodes) == self.num_clients:
                return nodes
            if is_simulation(self.grid) and nodes and settled:
                raise UserError(
                    f"this simulation has {len(nodes)} nodes, but clients.count is {self.num_clients}: set"
                    f" clients.count = {len(nodes)}, or 0 for the nodes that are connected, or give the"
                    f" simulation --federation-config 'num-supernodes={self.num_clients}'"
                )
            if len(nodes) < self.num_clients and not is_simulation(self.grid):
                return nodes
            waited = time.monotonic() - self._started
            if len(nodes) > self.num_clients and waited > min(self.timeout, _GONE_SECONDS):
                raise UserError(
                    f"{len(nodes)} nodes are connected, but clients.count is {self.num_clients}:"
                    " set it to the number of nodes, or to 0 for those that are connected"
                )
            if waited > self.timeout:
                raise self._too_few(len(nodes))
            if len(nodes) > self.num_clients:
                self._say(f"{len(nodes)} nodes are connected, clients.count is {self.num_clients}: waiting")
            time.sleep(_POLL_SECONDS)

    def pause(self, found: Collection[int]) -> None:
        """Wait a moment for the clients that are not among those found, and report it now and then.

        Raises
        ------
        UserError
            If that has taken too long.
        """
        missing = sorted(set(range(self.num_clients)) - set(found))
        if time.monotonic() - self._started > self.timeout:
            raise self._too_few(len(found), missing)
        limit = f"{self.timeout:.0f} s at most, failures.timeout"
        if self.num_clients:
            self._say(
                f"waiting for nodes: {len(found)} of clients.count = {self.num_clients} are"
                f" there{self._named(missing)} ({limit}; clients.count = 0 takes those that are connected)"
            )
        else:
            self._say(f"waiting for a first node, since clients.count is 0 ({limit})")
        time.sleep(_POLL_SECONDS)

    def _say(self, text: str) -> None:
        if (now := time.monotonic()) - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self.say(text)

    def _named(self, missing: Collection[int]) -> str:
        """Return a clause that names the partition ids for which no node is connected."""
        if not missing:
            return ""
        absent = partitions(self.grid, missing)
        named = ", ".join(map(str, absent[:_MAX_NAMED]))
        return f"; no node has partition-id {named}{', ...' if len(absent) > _MAX_NAMED else ''}"

    def _too_few(self, count: int, missing: Collection[int] = ()) -> UserError:
        if self.num_clients == 0:
            return UserError(f"no node connected within {self.timeout:.0f} s (failures.timeout)")
        return UserError(
            f"only {count} of clients.count = {self.num_clients} nodes connected within {self.timeout:.0f} s"
            f" (failures.timeout){self._named(missing)}"
        )


def count_nodes(grid: Grid, timeout: float, say: Say) -> int:
    """Return the number of nodes, once there are any and no more connect within a second."""
    waiting = Waiting(grid, 0, timeout, say)
    last = -1
    while not (nodes := waiting.nodes()) or len(nodes) != last:
        last = len(nodes)
        if nodes:
            time.sleep(_POLL_SECONDS)
        else:
            waiting.pause(())
    return last
