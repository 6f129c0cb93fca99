"""The default carrier: a Grid that calls the ClientApp in this process, one client after the other.

No Ray and no server to start; breakpoints in client code work; on one GPU it is the notebook mode.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.app import forget_run, meet
from common.flower import RUN_ID
from common.sections import Value
from runtimes.client_states import ClientStates
from runtimes.local_grid import LocalGrid


def make_context(client_id: int, num_clients: int, run_config: Mapping[str, Value], node_id: int) -> Context:
    """Make the Flower context of one simulated node, as Flower's own simulation does.

    It counts as met: it lives as long as the server, which asks only some of such nodes who they are.
    """
    context = Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={"partition-id": client_id, "num-partitions": num_clients},
        state=RecordDict(),
        run_config=run_config if isinstance(run_config, dict) else dict(run_config),
    )
    meet(context)
    return context


class SequentialGrid(LocalGrid):
    """Carries messages to a ClientApp in this process.

    Parameters
    ----------
    client_app : ClientApp
        The app that answers for every node.
    num_clients : int
        Number of nodes.
    run_config : Mapping[str, Value]
        The run configuration that each node's context holds.
    """

    def __init__(self, client_app: ClientApp, num_clients: int, run_config: Mapping[str, Value]) -> None:
        super().__init__(num_clients)
        self._client_app = client_app
        self._run_config = dict(run_config)  # one for all contexts
        self.states = ClientStates(int(run_config.get("state.memory-budget", 0)) * 10**6)

    def close(self) -> None:
        """Forget the clients' states, and what this process keeps for the run."""
        self.states.clear()
        forget_run()

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Answer the messages one after the other, each when its reply is asked for."""
        for message in messages:
            reply = self._client_app(message, self._context(message.metadata.dst_node_id))
            self.states.settle()
            yield reply

    def spill_below(self, folder: Path) -> None:
        """Use a folder for client states that exceed ``state.memory-budget``."""
        self.states.spill_below(folder)

    def adopt_state(self, client_id: int, path: Path) -> None:
        """Take a file of a checkpoint for a client's state as it is now."""
        self.states.adopt(client_id, path)

    def _context(self, node_id: int) -> Context:
        client_id = self.client_id(node_id)
        context = make_context(client_id, self.num_clients, self._run_config, node_id)
        context.state = self.states.open(client_id)
        return context
