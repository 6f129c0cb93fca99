"""The layer between round loop and Grid: messages by client id, and failure handling."""

import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from common.config import Config
from common.errors import CLIENT_FORGOT, ClientFailureError, UserError, shown
from common.records import CONFIG, GET_STATE, SET_STATE, Payload, content_bytes, to_payload, to_record
from server.checkpoints.client_files import StoredStates
from server.messages.client_registry import ClientRegistry
from server.messages.cohort_grid import CohortGrid
from server.messages.courier import Courier
from server.messages.discovery import has_gone
from server.messages.divergence import is_divergence, is_of_server
from server.messages.failed_job import FailedJob
from server.messages.late_replies import LateReplies
from server.messages.replies import ClientFailure, FailedRoundError, ReplyCheck, check_failures
from server.messages.returned_nodes import meet_again, returned_clients
from server.messages.shared_nodes import node_of
from server.messages.taken_replies import TakenReplies
from server.records.progress import ProgressDisplay
from server.records.run_directory import RunDirectory
from server.stopwatch import Stopwatch

T = TypeVar("T")


_STATES_AT_ONCE = 256
_LONGEST_NOTE = 400


@runtime_checkable
class StateKeeper(Protocol):
    """A Grid that keeps the clients' states in this process, and can read them from files."""

    def spill_below(self, folder: Path) -> None:
        """Use a folder for states that do not fit into memory."""

    def adopt_state(self, client_id: int, path: Path) -> None:
        """Use a file as a client's current state; the file stays until the client's state changes."""


@runtime_checkable
class Reliable(Protocol):
    """A Grid that knows whether replies may be lost on their way; on any other Grid they may."""

    is_reliable: bool


class Messenger:
    """Sends messages to clients and ensures that each is answered, or its failure handled.

    Parameters
    ----------
    config, grid, clients, run_directory, progress
        The parts of an experiment that it needs.
    stored : callable
        Returns the state of a client in the last checkpoint; None if there is none.
    advise : callable
        Returns advice against divergence in a round.
    """

    def __init__(
        self,
        config: Config,
        grid: Grid,
        clients: ClientRegistry,
        run_directory: RunDirectory,
        progress: ProgressDisplay,
        stored: Callable[[int], Payload | None],
        advise: Callable[[int], str],
    ) -> None:
        self._config = config
        self._grid = grid
        self._clients = clients
        self._run_directory = run_directory
        self._progress = progress
        all_arrive = isinstance(grid, Reliable) and grid.is_reliable
        may_lose = config.failures.policy == "drop" or not all_arrive
        self._taken = TakenReplies(may_lose and clients.keeps_state)
        self._courier = Courier(grid, clients, self._taken, config.failures.timeout, progress.note)
        self._late = LateReplies(grid, progress.note)
        self._stored = stored
        self._advise = advise

    def adopter(self) -> Callable[[int, Path], None] | None:
        """Return the function to call with the file of each client's state, if the Grid reads files."""
        return self._grid.adopt_state if isinstance(self._grid, StateKeeper) else None

    def restore(self, states: StoredStates) -> None:
        """Restore clients' states from a checkpoint: from files, or else with messages, some at a time."""
        if adopt := self.adopter():
            for client_id in states:
                adopt(client_id, states.path(client_id)[0])
            return
        clients = iter(states)
        while some := list(itertools.islice(clients, _STATES_AT_ONCE)):
            contents = {client_id: _content(states[client_id]) for client_id in some}
            deque(self.query(SET_STATE, contents), maxlen=0)

    def kept_states(self, client_ids: Iterable[int], spare_gone: bool) -> Iterator[tuple[int, Payload]]:
        """Ask clients for their states, some at a time; yield client id and state as they arrive.

        `spare_gone` and errors as in `query`.
        """
        clients = iter(sorted(client_ids))
        while some := list(itertools.islice(clients, _STATES_AT_ONCE)):
            question = dict.fromkeys(some, RecordDict({CONFIG: ConfigRecord()}))
            for client_id, kept in self.query(GET_STATE, question, spare_gone):
                yield client_id, to_payload(kept)

    def take_back(self) -> None:
        """Assign clients of restarted nodes to the new nodes, with the last checkpoint's state."""
        timeout, say = self._config.failures.timeout, self._progress.note
        if not (back := returned_clients(self._grid, self._clients, timeout, say)):
            return
        write_nodes(self._run_directory, self._grid, self._clients)
        for client_id in back:
            self._give_back(client_id, f"client {client_id} is back with a new node")

    def _give_back(self, client_id: int, note: str) -> None:
        """Send a client whose node restarted its state from the last checkpoint, and report it."""
        if self._clients.keeps_state:
            state = self._stored(client_id)
            note += ", with its state of the last checkpoint" if state else ", without what it had kept"
            list(self.query(SET_STATE, {client_id: _content(state or {})}))
        self._progress.note(note)

    def _replies(
        self, messages: Mapping[int, Message], server_round: int, watch: Stopwatch, numbers: dict[int, int]
    ) -> Iterator[tuple[int, Message]]:
        """Send messages and yield the replies; if a node has lost its state, restore it and send again.

        A node with a key keeps its id when it restarts, so only the node itself can know.
        """
        end = time.monotonic() + (self._config.failures.deadline or math.inf)
        self._late.collect()
        forgot: list[int] = []
        given_up: dict[str, int] = {}
        for client_id, reply in self._courier.carry(messages, numbers, end, given_up, watch):
            if reply.has_error() and reply.error.code == CLIENT_FORGOT:
                forgot.append(client_id)
            else:
                yield client_id, reply
        if forgot:
            timeout, say = self._config.failures.timeout, self._progress.note
            back = meet_again(self._grid, self._clients, sorted(forgot), timeout, say)
            write_nodes(self._run_directory, self._grid, self._clients)
            for client_id in back:
                self._give_back(client_id, f"client {client_id} is back: its node was started again")
            repeated = self._courier.repeat(messages, back, numbers)
            yield from self._courier.carry(repeated, numbers, end, given_up)
        self._late.await_later(given_up, server_round)

    def view(self, cohort: Sequence[int]) -> CohortGrid:
        """Return a view of the Grid with only the nodes of a cohort."""
        return CohortGrid(self._grid, [self._clients.node_ids[client_id] for client_id in cohort])

    def by_client(self, messages: Iterable[Message], cohort: Sequence[int], whose: str) -> dict[int, Message]:
        """Return client id → message, ascending.

        Raises
        ------
        UserError
            If they are not one message for each client of the cohort. `whose` names the strategy.
        """
        what = f"the messages of {whose} (build_messages, configure_train, configure_evaluate)"
        if not isinstance(messages, Iterable) or isinstance(messages, str | Mapping):
            raise UserError(f"{what} must be a list, one for each node of the grid, not {shown(messages)}")
        by_client: dict[int, Message] = {}
        for message in messages:
            if not isinstance(message, Message):
                raise UserError(f"{what} must be flwr.app.Message objects, and one is {shown(message)}")
            client_id = self._clients.client_ids.get(message.metadata.dst_node_id, -1)
            if client_id in by_client:
                raise UserError(f"{what} must be one for each node of the grid: client {client_id} has two")
            by_client[client_id] = message
        if wrong := sorted(by_client.keys() ^ {*cohort}):
            fault = f"client {wrong[0]} has none" if wrong[0] in cohort else "one has another node"
            raise UserError(f"{what} must be one for each node of the grid (grid.get_node_ids()): {fault}")
        return dict(sorted(by_client.items()))

    def send_and_reduce(
        self,
        aggregate: Callable[[int, Iterable[Message]], T],
        server_round: int,
        messages: Mapping[int, Message],
        check: ReplyCheck,
        watch: Stopwatch | None = None,
    ) -> T:
        """Send messages and have `aggregate` reduce the replies, which `check` puts in client order.

        `watch` measures sending, and waiting for replies or making them, as separate phases.

        Raises
        ------
        ClientFailureError
            If clients failed and the policy does not tolerate it; otherwise `check` counts them.
        """
        numbers = self._taken.stamp(messages)
        watch = watch or Stopwatch()
        replies = watch.during("train", self._replies(messages, server_round, watch, numbers))
        try:
            result = aggregate(server_round, check.in_client_order(replies))
        except FailedRoundError as error:
            failure = error.failure
            advised = self._advice(server_round, failure.reason)
            command = self._record_job(server_round, failure.client_id, messages)
            raise ClientFailureError(
                f"{_subject(failure, server_round)}:\n{failure.reason.rstrip()}\n{advised}"
                f"Run this one job again:\n  {command}"
            ) from None
        self._taken.note(numbers, check.metrics)
        self._check_failures(check, server_round)
        for failure in check.failures:
            reason = failure.reason.strip().splitlines()[-1][:_LONGEST_NOTE]
            self._progress.note(f"round {server_round}: dropped client {failure.client_id} ({reason})")
        return result

    def _check_failures(self, check: ReplyCheck, server_round: int) -> None:
        fraction = self._config.failures.max_fraction
        try:
            check_failures(check.failures, check.num_working, fraction, server_round)
        except ClientFailureError as error:
            advised = self._advice(server_round, check.failures[0].reason)
            raise ClientFailureError(f"{error}\n{advised}".rstrip()) from None

    def _advice(self, server_round: int, reason: str) -> str:
        return f"{self._advise(server_round)}\n" if is_divergence(reason) else ""

    def query(
        self, job: str, contents: Mapping[int, RecordDict], spare_gone: bool = False
    ) -> Iterator[tuple[int, RecordDict]]:
        """Ask clients a question that must not fail; yield client id and content of each reply as it arrives.

        With `spare_gone`, a client whose node has disconnected is left out, with a remark.

        Raises
        ------
        ClientFailureError
            If a client does not answer, or answers with an error.
        """
        missing, name = set(contents), job.removeprefix("query.")
        messages = self._courier.address(job, contents)
        for client_id, reply in self._courier.carry(messages, self._taken.stamp(messages)):
            if spare_gone and has_gone(reply):
                continue
            if reply.has_error():
                raise ClientFailureError(
                    f"client {client_id} could not answer '{name}':\n{reply.error.reason}"
                )
            missing.remove(client_id)
            yield client_id, reply.content
        if missing and spare_gone:
            clients = ", ".join(map(str, sorted(missing)))
            self._progress.note(f"no answer to '{name}' from client {clients}: gone, and left out")
        elif missing:
            raise ClientFailureError(f"no answer to '{name}' from client {min(missing)}: its node has gone")

    def _record_job(self, server_round: int, client_id: int, messages: Mapping[int, Message]) -> str:
        """Write a failed job to the run directory and return the command that runs it again."""
        state: Payload = {}
        if self._clients.keeps_state:
            state = dict(self.kept_states([client_id], spare_gone=True)).get(client_id, {})
        message = messages[client_id]
        name = f"round-{server_round:06d}-client-{client_id:06d}"
        directory = self._run_directory.path / "failures" / name
        FailedJob.from_message(
            client_id, message.metadata.message_type, message.content, state, dict(self._config.flat())
        ).save(directory)
        return f"python -m runtimes.replay {directory}"


def write_nodes(run_directory: RunDirectory, grid: Grid, clients: ClientRegistry) -> None:
    """Write which node each client is on, if the nodes are separate processes."""
    nodes = {client_id: node_of(grid, clients.node_ids[client_id]) for client_id in clients.versions}
    run_directory.write_nodes(nodes, clients.num_examples, clients.versions)


def _content(state: Payload) -> RecordDict:
    return RecordDict({name: to_record(section) for name, section in state.items()})


def _subject(failure: ClientFailure, server_round: int) -> str:
    if not is_of_server(failure.reason):
        return f"client {failure.client_id} failed in round {server_round}"
    return (
        f"round {server_round} works with a model of the server's whose loss is not finite, as client"
        f" {failure.client_id} was the first to find"
    )


def bytes_by_client(messages: Mapping[int, Message]) -> dict[int, int]:
    """Count the bytes of all arrays of each message."""
    counted: dict[int, int] = {}  # by identity: usually all messages share their content
    for message in messages.values():
        if id(message.content) not in counted:
            counted[id(message.content)] = content_bytes(message.content)
    return {client_id: counted[id(message.content)] for client_id, message in messages.items()}


def num_bytes(messages: Mapping[int, Message]) -> int:
    """Count the bytes of all arrays of messages."""
    return sum(bytes_by_client(messages).values())
