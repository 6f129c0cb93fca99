"""The Flower ClientApp: one message in, one job of one client done, one message out."""

import functools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flwr.app import Array, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.base import Client, Outcome
from clients.local.bundles import answer_each
from clients.local.incoming import NUM_CLIENTS, RefusedMessageError, check_message, check_size, read_sections
from clients.local.kept_state import keep, settle
from clients.local.sampling import check_course
from clients.local.sgd_only import require_plain_sgd
from clients.local.stacked.answers import Answers
from clients.local.threads import thread_starts, why_not_in_threads, worker_of_thread
from clients.local.worker import Worker, get_worker
from clients.registry import Method, complete, method_of
from common.bundle import BUNDLE
from common.config import Config
from common.errors import (
    CLIENT_FAILED,
    CLIENT_FORGOT,
    CLIENT_MISCONFIGURED,
    CLIENT_REFUSED,
    UnknownNameError,
    UserError,
)
from common.flower import RUN_ID, new_content, new_metrics, new_reply
from common.plugins import folders, use_folders
from common.records import (
    ARRAYS,
    CONFIG,
    DESCRIBE,
    GET_STATE,
    LOSS_QUERY,
    MET,
    METRICS,
    NOT_MADE,
    PERSONAL_MODEL,
    PRELUDE,
    SET_STATE,
    SIZE,
    Payload,
    config_record,
    finite_since,
    is_finite,
    to_payload,
    to_record,
)
from common.sections import Value
from common.versions import own_versions

app = ClientApp()

# The run configuration that this process was last given, and what it says.
_latest: list[tuple[Mapping[str, Value], Config]] = []


@functools.lru_cache(maxsize=4)
def _parse_config(items: tuple[tuple[str, Value], ...]) -> Config:
    return complete(Config.from_flat(dict(items)))


def parse_run_config(run_config: Mapping[str, Value]) -> Config:
    """Validate a Flower run configuration, once per process."""
    if _latest and _latest[0][0] is run_config:
        return _latest[0][1]
    config = _parse_config(tuple(sorted(run_config.items())))
    use_folders(config.plugins)
    _latest[:] = [(run_config, config)]
    return config


def forget_run() -> None:
    """Let go of the data and the model that this process keeps for a run, before it begins another."""
    get_worker.cache_clear()
    _parse_config.cache_clear()
    _latest.clear()


def prepare_threads(run_config: Mapping[str, Value], count: int) -> tuple[Sequence[Callable[[], None]], str]:
    """Return what each of `count` threads that answer messages calls first.

    And why messages have to be answered one after the other, if they do: nothing is to be called then.
    """
    worker = get_worker(parse_run_config(run_config))
    why_not = why_not_in_threads(worker)
    return ([] if why_not else thread_starts(worker, count)), why_not


def _config_of(context: Context) -> Config:
    """Return the run's configuration as this node has it: it knows of how many nodes it is one."""
    config = parse_run_config(context.run_config)
    if config.clients.count:
        return config
    if "num-partitions" not in context.node_config:
        raise UserError(
            "clients.count is 0, so that every node has to know how many there are: start this SuperNode with"
            " --node-config 'partition-id=0 num-partitions=2'"
        )
    return config.with_clients(int(context.node_config["num-partitions"]))


def client_id_of(context: Context) -> int:
    """Return the partition id of this node, which is the client's identity everywhere."""
    if "partition-id" not in context.node_config:
        raise UserError("this SuperNode has no partition id: start it with --node-config 'partition-id=0'")
    return int(context.node_config["partition-id"])


class ForgottenStateError(Exception):
    """The node has been started again since the server met it, and what its client kept is lost."""


def meet(context: Context) -> None:
    """Note in a client's state that the server has met this node as it is."""
    context.state[MET] = ConfigRecord()


def make_client(context: Context, message: Message | None = None) -> Client:
    """Build the client of this node, with the state that it kept and a model of the message's size.

    Raises
    ------
    ForgottenStateError
        If it is to do a job with state that it does not have any more.
    """
    worker = _worker_for(context, message)
    client = _client_at(worker, method_of(worker.config), context)
    if message is not None:
        _check_remembers(client, context)
    return client


def _worker_for(context: Context, message: Message | None) -> Worker:
    """Return what the jobs of a process have in common, with a model of the message's size."""
    config = _config_of(context)
    worker = worker_of_thread() or get_worker(config, str(context.node_config.get("data-root", "")))
    if message is None:
        return worker
    size = str(config_record(message.content).get(SIZE, ""))
    check_size(size, worker.model)
    return worker.sized(size)


def _client_at(worker: Worker, method: Method, context: Context) -> Client:
    """Build the client of this node, with the state that it kept."""
    client_id, count = client_id_of(context), worker.config.clients.count
    if client_id >= count:
        raise UserError(
            f"this node has partition-id {client_id}, but clients.count is {count}:"
            " ids go from 0 to clients.count - 1"
        )
    state = {
        name: {key: value.to(worker.device, copy=True) for key, value in section.items()}
        for name, section in to_payload(context.state).items()
    }
    return method.client_class(worker, client_id, state, method.client_parameters)


def _check_remembers(client: Client, context: Context) -> None:
    """Refuse a job of a client whose node has lost what it kept."""
    is_kept = context.run_id == RUN_ID or MET in context.state  # nodes of our own Grids live as long as these
    if not is_kept and client.keeps_state():
        raise ForgottenStateError("the node has been started again and has lost what its client kept")


def run_train(message: Message, context: Context) -> RecordDict:
    """Train one client for one round and keep its state, unless that has gone bad."""
    client = make_client(context, message)
    sections, metrics = client.train(read_sections(message.content), config_record(message.content))
    return _with_state(client, message, context, sections, metrics)


def run_prelude(message: Message, context: Context) -> RecordDict:
    """Return what the server asks for before a round, and keep the client's state."""
    client = make_client(context, message)
    answer = client.answer_prelude(read_sections(message.content), config_record(message.content))
    return _with_state(client, message, context, *answer)


def _with_state(
    client: Client,
    message: Message,
    context: Context,
    sections: Payload,
    metrics: Mapping[str, int | float],
    arrays: Mapping[int, Array] = NOT_MADE,
) -> RecordDict:
    if undeclared := sorted(client.undeclared_state()):
        raise UserError(
            f"method.name '{client.worker.config.method.name}': its client half keeps the state"
            f" '{undeclared[0]}' without declaring it: name it in KEEPS, or return it from keeps()"
        )
    for name, section in client.state.items():
        for key, value in section.items():
            if not is_finite(value):
                since = finite_since(metrics)
                raise FloatingPointError(f"the client's state '{name}' is no longer finite in '{key}'{since}")
    records = {name: to_record(section, arrays) for name, section in sections.items()}
    reply = new_content({**records, METRICS: new_metrics(metrics)})
    keep(context, client.state, client.client_id, message.content)
    return reply


def run_evaluate(message: Message, context: Context) -> RecordDict:
    """Evaluate on one client."""
    client = make_client(context, message)
    metrics = client.test(read_sections(message.content), config_record(message.content))
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def run_loss(message: Message, context: Context) -> RecordDict:
    """Return the loss of the global model on the client's training data."""
    client = make_client(context, message)
    metrics = client.training_loss(read_sections(message.content), config_record(message.content))
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def run_describe(message: Message, context: Context) -> RecordDict:
    """Return which client this node is and what it holds."""
    client = make_client(context)
    _check_number(client, message)
    if client.NEEDS_CLASSES and client.worker.dataset.is_regression:
        raise UserError(
            f"method.name '{client.worker.config.method.name}' needs classes, and the targets of dataset"
            f" '{client.worker.dataset.name}' are numbers: use another method"
        )
    if client.NEEDS_ONE_LABEL and client.worker.dataset.target_shape:
        raise UserError(
            f"method.name '{client.worker.config.method.name}' needs one label per sample, and dataset"
            f" '{client.worker.dataset.name}' has one per position: use another method, or other data"
        )
    client.validate()
    if client.assumes_sgd():
        require_plain_sgd(client.worker.config.optimizer, client.worker.config.method.name)
    check_course(client)
    loss = client.worker.config.loss.name
    if loss != "cross-entropy" and client.overrides("loss"):
        name = client.worker.config.method.name
        raise UserError(f"method.name '{name}' has a loss of its own: loss.name must be 'cross-entropy'")
    description = MetricRecord(
        {
            "client-id": client.client_id,
            "keeps-state": int(client.keeps_state()),
            "is-personalised": int(client.is_personalised()),
            "num-examples": client.num_examples,
        }
    )
    if client.worker.config.clients.report_labels:
        description["label-counts"] = client.label_counts().tolist()
    if client.keeps_state():
        meet(context)
    texts = ConfigRecord(
        {
            "personal-names": sorted(client.personal_names()),
            "versions": own_versions(),
            "device": client.worker.device.type,
        }
    )
    return RecordDict({METRICS: description, CONFIG: texts})


def _check_number(client: Client, message: Message) -> None:
    """Refuse to be one of another number of clients than the server knows: the partition would differ."""
    asked = int(config_record(message.content).get(NUM_CLIENTS, 0))  # type: ignore[arg-type]
    count = client.worker.config.clients.count
    if asked and asked != count:
        raise UserError(
            f"the node with partition-id {client.client_id} is one of num-partitions = {count}, but"
            f" {asked} nodes are there: start all before the run, with their number, or set clients.count"
        )


def run_personal_model(message: Message, context: Context) -> RecordDict:
    """Hand out the model by which this client predicts."""
    client = make_client(context, message)
    own = client.own_model(read_sections(message.content), config_record(message.content))
    return RecordDict({ARRAYS: to_record(own)})


def run_get_state(message: Message, context: Context) -> RecordDict:
    """Hand out the client's state for a checkpoint."""
    return RecordDict(dict(context.state.array_records.items()))


def run_set_state(message: Message, context: Context) -> RecordDict:
    """Replace the client's state by that of a checkpoint."""
    client = make_client(context)
    client.check_state(read_sections(message.content))
    context.state.clear()
    for name, record in message.content.array_records.items():
        context.state[name] = record
    meet(context)
    return RecordDict({CONFIG: ConfigRecord()})


JOBS: dict[str, Callable[[Message, Context], RecordDict]] = {
    "train": run_train,
    "evaluate": run_evaluate,
    DESCRIBE: run_describe,
    LOSS_QUERY: run_loss,
    PRELUDE: run_prelude,
    PERSONAL_MODEL: run_personal_model,
    GET_STATE: run_get_state,
    SET_STATE: run_set_state,
}


def answer(message: Message, context: Context) -> Message:
    """Do the job that a message asks for, as each client that it is for.

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
    """Return what a job returns as the reply to a message, or its exception as an error reply."""
    try:
        return new_reply(job(), message)
    except UserError as error:
        return Message(Error(CLIENT_MISCONFIGURED, f"{error}{_where(error, context)}"), reply_to=message)
    except RefusedMessageError as error:
        return Message(Error(CLIENT_REFUSED, str(error)), reply_to=message)
    except ForgottenStateError as error:
        return Message(Error(CLIENT_FORGOT, str(error)), reply_to=message)
    except Exception:
        return Message(Error(CLIENT_FAILED, traceback.format_exc()), reply_to=message)


def answer_together(
    messages: Sequence[Message], contexts: Sequence[Context], say: Callable[[str], None]
) -> Iterator[Message]:
    """Answer train messages, those as a stack that can be, in any order; `say` is given reasons why not."""
    # By identity: most often all messages share their content.
    known: dict[int, tuple[Worker, Method, Payload]] = {}

    def prepare(job: tuple[Message, Context]) -> Client:
        (message, context), content = job, job[0].content
        if id(content) not in known:
            check_message("train", content)
            worker = _worker_for(context, message)
            received = worker.placed(read_sections(content))
            known[id(content)] = worker, method_of(worker.config), received
        worker, method, received = known[id(content)]
        settle(context.state, content)
        client = _client_at(worker, method, context)
        _check_remembers(client, context)
        client.prepare(received, config_record(content))
        return client

    def conclude(job: tuple[Message, Context], client: Client, outcome: Outcome) -> Message:
        return _reply(lambda: _with_state(client, *job, *client.conclude(outcome), outcome.arrays), *job)

    stacked = Answers(prepare, conclude, lambda job: _answer(*job), say)
    yield from stacked(zip(messages, contexts, strict=True))


def _where(error: UserError, context: Context) -> str:
    """Return, of a name that this node does not know, which node it is and where it looks for plug-ins."""
    if not isinstance(error, UnknownNameError) or not (looked := folders()):
        return ""
    places = ", ".join(f"{folder}{'' if folder.is_dir() else ' (which is not there)'}" for folder in looked)
    node = context.node_config.get("partition-id", "?")
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
