"""The default carrier: a Grid that calls the ClientApp in this process, one client after the other.

No Ray and no server to start; breakpoints in client code work; on one GPU it is the notebook mode.
"""

from collections.abc import Iterator, Mapping

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.app import forget_run, meet
from common.flower import RUN_ID
from common.sections import Value
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
        self._contexts: dict[int, Context] = {}

    def close(self) -> None:
        """Forget the clients' states, and what this process keeps for the run."""
        self._contexts.clear()
        forget_run()

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Answer the messages one after the other, each when its reply is asked for."""
        for message in messages:
            yield self._client_app(message, self._context(message.metadata.dst_node_id))

    def _context(self, node_id: int) -> Context:
        if node_id not in self._contexts:
            self._contexts[node_id] = make_context(
                self.client_id(node_id), self.num_clients, self._run_config, node_id
            )
        return self._contexts[node_id]
