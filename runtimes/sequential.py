"""The default Grid: it calls the ClientApp in this process, one client after the other.

There is no Ray or server to start, and breakpoints in client code work; suits notebooks with one GPU.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.app import answer_together
from clients.node.run_configuration import forget_run
from common.flower import RUN_ID
from common.sections import Value
from runtimes.client_states import ClientStates
from runtimes.local_grid import LocalGrid, stacks


def make_context(client_id: int, num_clients: int, run_config: Mapping[str, Value], node_id: int) -> Context:
    """Create the Flower context of a simulated node, as Flower's own simulation does."""
    return Context(
        run_id=RUN_ID,
        node_id=node_id,
        node_config={"partition-id": client_id, "num-partitions": num_clients},
        state=RecordDict(),
        run_config=run_config if isinstance(run_config, dict) else dict(run_config),
    )


class SequentialGrid(LocalGrid):
    """Carries messages to a ClientApp in this process.

    Parameters
    ----------
    client_app : ClientApp
        The app that handles the messages of every node.
    num_clients : int
        Number of nodes.
    run_config : Mapping[str, Value]
        The run configuration in each node's context.
    """

    def __init__(self, client_app: ClientApp, num_clients: int, run_config: Mapping[str, Value]) -> None:
        super().__init__(num_clients)
        self._client_app = client_app
        self._run_config = dict(run_config)  # shared by all contexts
        self.states = ClientStates(int(run_config.get("state.memory-budget", 0)) * 10**6)

    def close(self) -> None:
        """Discard the clients' states, and everything that this process keeps for the run."""
        self.states.clear()
        forget_run()

    def exchange(self, messages: list[Message]) -> Iterator[Message]:
        """Answer the messages lazily, one after the other or in stacks."""
        for some in stacks(messages, self.stack):
            contexts = [self._context(message.metadata.dst_node_id) for message in some]
            if len(some) > 1:
                yield from answer_together(some, contexts, self.note)
            else:
                yield self._client_app(some[0], contexts[0])
            self.states.settle()

    def spill_below(self, folder: Path) -> None:
        """Use a folder for client states that exceed ``state.memory-budget``."""
        self.states.spill_below(folder)

    def adopt_state(self, client_id: int, path: Path) -> None:
        """Register a checkpoint's file as a client's current state."""
        self.states.adopt(client_id, path)

    @contextlib.contextmanager
    def _keeping_nothing(self, messages: Sequence[Message]) -> Iterator[None]:
        kept = self.states
        self.states = kept.copies(self.client_id(message.metadata.dst_node_id) for message in messages)
        try:
            yield
        finally:
            self.states = kept

    def _clock(self) -> float:
        return time.perf_counter() if torch.cuda.is_available() else time.process_time()

    def _context(self, node_id: int) -> Context:
        client_id = self.client_id(node_id)
        context = make_context(client_id, self.num_clients, self._run_config, node_id)
        context.state = self.states.open(client_id)
        return context
