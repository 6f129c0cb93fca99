"""The Flower ClientApp: a message comes in, a client does its job, a reply goes out."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.base import Client, Outcome
from clients.local.compression import compressed
from clients.local.incoming import RefusedMessageError, check_message, read_sections
from clients.local.outside import check_answer
from clients.local.stacked.answers import Answers
from clients.local.stacked.members import check_unwritten
from clients.local.stacked.stackable import NotStackableError, drawing_nothing
from clients.local.threads import thread_starts, why_not_in_threads
from clients.local.worker import Worker, get_worker
from clients.node.bundles import answer_each
from clients.node.client import ForgottenStateError, check_remembers, client_at, worker_for
from clients.node.jobs import JOBS, NotFiniteError, with_state
from clients.node.run_configuration import parse_run_config
from clients.node.state_commit import settle
from clients.registry import Method, method_of
from common.bundle import BUNDLE
from common.errors import (
    CLIENT_FAILED,
    CLIENT_FORGOT,
    CLIENT_MISCONFIGURED,
    CLIENT_REFUSED,
    UnknownNameError,
    UserError,
)
from common.flower import RUN_ID, new_reply
from common.plugins import folders
from common.records import Payload, config_record
from common.sections import Value

app = ClientApp()


def answer(message: Message, context: Context) -> Message:
    """Do the job that a message asks for, once for each client that it addresses.

    An exception becomes an error reply with its traceback.
    """
    if BUNDLE not in message.content:
        return _answer(message, context)

    def run() -> RecordDict:
        num_places = parse_run_config(context.run_config).resources.clients_per_node
        return answer_each(message, context, num_places, _answer)

    return _reply(run, message, context)


def _answer(message: Message, context: Context) -> Message:
    """Do the job of one client."""
    name = message.metadata.message_type.removesuffix(".default")
    job = JOBS[name]

    def run() -> RecordDict:
        check_message(name, message.content)
        before = dict(context.state)
        try:
            settle(context.state, message.content)
            return job(message, context)
        except RefusedMessageError:
            context.state.clear()
            context.state.update(before)
            raise

    return _reply(run, message, context)


def _reply(job: Callable[[], RecordDict], message: Message, context: Context) -> Message:
    """Wrap the result of a job in a reply to a message, or its exception in an error reply."""
    try:
        return new_reply(job(), message)
    except NotStackableError:
        raise
    except UserError as error:
        return Message(Error(CLIENT_MISCONFIGURED, f"{error}{_where(error, context)}"), reply_to=message)
    except NotFiniteError as error:
        return Message(Error(CLIENT_FAILED, str(error)), reply_to=message)
    except RefusedMessageError as error:
        return Message(Error(CLIENT_REFUSED, str(error)), reply_to=message)
    except ForgottenStateError as error:
        return Message(Error(CLIENT_FORGOT, str(error)), reply_to=message)
    except (Exception, SystemExit):  # a hook may call code that ends a program
        return Message(Error(CLIENT_FAILED, traceback.format_exc()), reply_to=message)


def answer_together(
    messages: Sequence[Message], contexts: Sequence[Context], say: Callable[[str], None]
) -> Iterator[Message]:
    """Answer train messages in any order, stacked where possible; `say` is given the reasons where not."""
    # By identity: usually all messages share their content.
    known: dict[int, tuple[Worker, Method, Payload]] = {}

    def prepare(job: tuple[Message, Context]) -> Client:
        (message, context), content = job, job[0].content
        if id(content) not in known:
            check_message("train", content)
            worker = worker_for(context, message)
            received = worker.placed(read_sections(content))
            known[id(content)] = worker, method_of(worker.config), received
        worker, method, received = known[id(content)]
        settle(context.state, content)
        client = client_at(worker, method, context)
        check_remembers(client, context)
        with drawing_nothing(worker):
            client.prepare(received, config_record(content))
        return client

    def conclude(job: tuple[Message, Context], client: Client, outcome: Outcome) -> Message:
        def run() -> RecordDict:
            with drawing_nothing(client.worker):
                answer = client.conclude(outcome)
            if client.is_from_outside:
                check_answer(client, "conclude", answer)
            check_unwritten(client, outcome)
            sections, metrics = answer
            return with_state(client, *job, compressed(client, sections), metrics, outcome.arrays)

        return _reply(run, *job)

    stacked = Answers(prepare, conclude, lambda job: _answer(*job), say)
    yield from stacked(zip(messages, contexts, strict=True))


def prepare_threads(run_config: Mapping[str, Value], count: int) -> tuple[Sequence[Callable[[], None]], str]:
    """Return the functions that `count` threads call before they answer messages, and the reason if none may.

    With a reason, messages must be answered one after the other, and there are no functions.
    """
    worker = get_worker(parse_run_config(run_config))
    why_not = why_not_in_threads(worker)
    return ([] if why_not else thread_starts(worker, count)), why_not


def _where(error: UserError, context: Context) -> str:
    """Complete an error: on which node of several it is, and where that looks for a name that is unknown."""
    node = context.node_config.get("partition-id", "?")
    if not isinstance(error, UnknownNameError) or not (looked := folders()):
        # Nodes of our own Grids have the server's data and packages.
        if context.run_id == RUN_ID or "partition-id" in str(error):
            return ""
        root = context.node_config.get("data-root")
        return f" (on the node of client {node}{f', whose data are in {root}' if root else ''})"
    places = ", ".join(f"{folder}{'' if folder.is_dir() else ' (which is not there)'}" for folder in looked)
    return (
        f"; this is the node with partition-id {node}, which looks for plug-ins in {places}: put them there,"
        " or name another folder in FLOWERBED_PLUGINS where it starts"
    )


def _register(job: str) -> Any:
    category, _, action = job.partition(".")
    decorator = getattr(app, category)
    return decorator(action)(answer) if action else decorator()(answer)


for _job in JOBS:
    _register(_job)
