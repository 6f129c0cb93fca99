"""The jobs that a message may ask a client to do: one function per message type."""

from collections.abc import Callable, Mapping

from flwr.app import Array, ConfigRecord, Context, Message, MetricRecord, RecordDict

from clients.base import Client
from clients.local.compression import compressed
from clients.local.incoming import read_sections
from clients.local.outside import check_answer, check_measured
from clients.node.client import make_client, meet
from clients.node.description import run_describe
from clients.node.state_checks import check_state, take_state
from clients.node.state_commit import keep
from common.flower import new_content, new_metrics
from common.records import (
    ARRAYS,
    CONFIG,
    DESCRIBE,
    GET_STATE,
    LOSS_QUERY,
    METRICS,
    NOT_MADE,
    PERSONAL_MODEL,
    PRELUDE,
    SET_STATE,
    Payload,
    config_record,
    finite_since,
    is_finite,
    to_record,
)

_WRITERS = ("prelude", "begin_round", "loss", "correct_gradients", "after_step", "end_round")  # of the state


class NotFiniteError(Exception):
    """A client's state has become infinite or NaN."""


def run_train(message: Message, context: Context) -> RecordDict:
    """Train one client for one round and keep its state, if that is finite."""
    client = make_client(context, message)
    answer = client.train(read_sections(message.content), config_record(message.content))
    if client.is_from_outside:
        check_answer(client, "conclude" if type(client).train is Client.train else "train", answer)
    sections, metrics = answer
    return with_state(client, message, context, compressed(client, sections), metrics)


def run_prelude(message: Message, context: Context) -> RecordDict:
    """Return what the server asks for before a round, and keep the client's state."""
    client = make_client(context, message)
    answer = client.answer_prelude(read_sections(message.content), config_record(message.content))
    if client.is_from_outside:
        check_answer(client, "answer_prelude", answer)
    return with_state(client, message, context, *answer)


def with_state(
    client: Client,
    message: Message,
    context: Context,
    sections: Payload,
    metrics: Mapping[str, int | float],
    arrays: Mapping[int, Array] = NOT_MADE,
) -> RecordDict:
    """Keep the state of a client that has done its job, and return the content of the reply.

    Parameters
    ----------
    sections, metrics : Payload, Mapping
        What the job returned.
    arrays : Mapping[int, Array]
        Tensors that have been serialised already, as in ``common.records.to_record``.

    Raises
    ------
    UserError
        As ``check_state``.
    NotFiniteError
        If a value of the state is not finite; nothing is kept then.
    """
    check_state(client)
    for name, section in client.state.items():
        for key, value in section.items():
            if not is_finite(value):
                raise NotFiniteError(
                    f"the client's state '{name}' is no longer finite in '{key}'{_since(client, metrics)}"
                )
    records = {name: to_record(section, arrays) for name, section in sections.items()}
    reply = new_content({**records, METRICS: new_metrics(metrics)})
    keep(context, client.state, client.client_id, message.content)
    return reply


def _since(client: Client, metrics: Mapping[str, int | float]) -> str:
    """Return when a client's loss became non-finite; if it did not, which of a user's hooks to look at."""
    if (since := finite_since(metrics)) or not client.is_from_outside:
        return since
    wrote = [f"{type(client).__name__}.{hook}" for hook in _WRITERS if client.overrides(hook)]
    return f", though its loss is: see {' and '.join(wrote)}" if wrote else ""


def run_evaluate(message: Message, context: Context) -> RecordDict:
    """Evaluate on one client."""
    client = make_client(context, message)
    metrics = client.test(read_sections(message.content), config_record(message.content))
    if client.is_from_outside:
        check_measured(client, "test", metrics)
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def run_loss(message: Message, context: Context) -> RecordDict:
    """Return the loss of the global model on the client's training data."""
    client = make_client(context, message)
    metrics = client.training_loss(read_sections(message.content), config_record(message.content))
    if client.is_from_outside:
        check_measured(client, "training_loss", metrics)
    return RecordDict({METRICS: MetricRecord(dict(metrics))})


def run_personal_model(message: Message, context: Context) -> RecordDict:
    """Return the model with which this client predicts."""
    client = make_client(context, message)
    own = client.own_model(read_sections(message.content), config_record(message.content))
    return RecordDict({ARRAYS: to_record(own)})


def run_get_state(message: Message, context: Context) -> RecordDict:
    """Return the client's state, for a checkpoint."""
    return RecordDict(dict(context.state.array_records.items()))


def run_set_state(message: Message, context: Context) -> RecordDict:
    """Replace the client's state with that of a checkpoint."""
    client = make_client(context)
    take_state(client, read_sections(message.content))
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
