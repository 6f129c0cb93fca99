"""Validation of messages to a node: they come from another machine, which may send anything.

Each check raises before anything is computed from the message or kept.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from flwr.app import ArrayRecord, ConfigRecord, MessageType, RecordDict

from common.errors import UserError, one_line, shown
from common.records import (
    ARRAYS,
    CONFIG,
    DESCRIBE,
    EXCHANGE,
    FIRST_STEP,
    GET_STATE,
    LOCAL_STEPS,
    LOSS_QUERY,
    LOST,
    NUMBER,
    ONE_BATCH,
    PERSONAL_MODEL,
    PRELUDE,
    SERVER_ROUND,
    SET_STATE,
    SIZE,
    Payload,
    Tensors,
    array_records,
    config_record,
    is_finite,
    to_tensors,
)
from common.returned import check_returned
from models.sizes.submodels import as_splittable

NUM_CLIENTS = "num-clients"
_MAX_RECORDS, _MAX_ARRAYS, _LONGEST_NAME, _LARGEST = 64, 100_000, 300, 2**31
_JOBS = (MessageType.TRAIN, MessageType.EVALUATE, PRELUDE, LOSS_QUERY, PERSONAL_MODEL)  # with a model
_WITHOUT_MODEL = (DESCRIBE, GET_STATE, SET_STATE)


class RefusedMessageError(Exception):
    """A message that no server of this project would send; one line says what is wrong with it."""


@dataclass(frozen=True)
class Section:
    """What a message may hold in addition to the model (``Client.receives``).

    Attributes
    ----------
    arrays : Tensors
        Tensors with the names, shapes and dtypes that its arrays must have; the values mean nothing.
    needed_for : Collection[str]
        The types of jobs that require it.
    """

    arrays: Tensors
    needed_for: Collection[str] = (MessageType.TRAIN,)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


_COUNT = (_is_count, f"a whole number from 0 to {_LARGEST - 1}")
# The types of the record entries that this project reads; a method may send others.
_ENTRIES: dict[str, dict[str, tuple[Callable[[object], bool], str]]] = {
    CONFIG: {
        SERVER_ROUND: _COUNT,
        LOCAL_STEPS: _COUNT,
        FIRST_STEP: _COUNT,
        NUM_CLIENTS: _COUNT,
        ONE_BATCH: (lambda value: isinstance(value, bool), "true or false"),
        SIZE: (lambda value: isinstance(value, str), "a string"),
    },
    EXCHANGE: {NUMBER: _COUNT, LOST: (_is_list_of_texts, "a list of strings")},
}


def check_message(job: str, content: RecordDict) -> None:
    """Check the form of a message: its records, their sizes and names, and the entries that control a job.

    Raises
    ------
    RefusedMessageError
        If the content is not what such a job needs.
    """
    if len(content) > _MAX_RECORDS:
        raise RefusedMessageError(f"the message has {len(content)} records, more than {_MAX_RECORDS}")
    for name, record in content.items():
        if len(name) > _LONGEST_NAME or len(record) > _MAX_ARRAYS:
            raise RefusedMessageError(
                f"the message's record {_named(name)} is too large, or its name too long"
            )
    for name in _required_records(job):
        if name not in content:
            raise RefusedMessageError(f"the message has no '{name}', which '{job}' needs")
    for name, kind in ((CONFIG, ConfigRecord), (EXCHANGE, ConfigRecord), (ARRAYS, ArrayRecord)):
        if name in content and not isinstance(content[name], kind):
            raise RefusedMessageError(
                f"the message's '{name}' is a {type(content[name]).__name__}, not a {kind.__name__}"
            )
    _check_entries(job, content)


def _required_records(job: str) -> Collection[str]:
    if job in (GET_STATE, SET_STATE):
        return ()
    return (CONFIG,) if job == DESCRIBE else (CONFIG, ARRAYS)


def _check_entries(job: str, content: RecordDict) -> None:
    needed = [] if job in _WITHOUT_MODEL else [SERVER_ROUND, *([ONE_BATCH] if job == LOSS_QUERY else ())]
    for entry in needed:
        if entry not in config_record(content):
            raise RefusedMessageError(f"the message's '{CONFIG}' has no '{entry}'")
    for name, entries in _ENTRIES.items():
        record = config_record(content, name) if name in content else {}
        for key, (is_right, expected) in entries.items():
            if key in record and not is_right(record[key]):
                raise RefusedMessageError(
                    f"the message's '{name}' has {key} = {shown(record[key])}, which must be {expected}"
                )
    if EXCHANGE in content and (missing := {NUMBER, LOST} - config_record(content, EXCHANGE).keys()):
        raise RefusedMessageError(f"the message's '{EXCHANGE}' has no '{min(missing)}'")


def read_sections(content: RecordDict) -> Payload:
    """Return every section of a message, without unpickling or allocating memory that an array merely claims.

    Raises
    ------
    RefusedMessageError
        If bytes are not the array that they claim to be, or its numbers are complex or not finite.
    """
    return {name: _read(name, record) for name, record in array_records(content).items()}


def _read(section: str, record: ArrayRecord) -> Tensors:
    try:
        values = to_tensors(record)
    except Exception:  # malformed bytes may raise anything
        raise _first_unreadable(section, record) from None
    for key, value in values.items():
        if value.is_complex():
            raise RefusedMessageError(f"the message's {_named(section)} has complex numbers in {_named(key)}")
        if not is_finite(value):
            raise RefusedMessageError(
                f"the message's {_named(section)} has a value that is not finite in {_named(key)}"
            )
    return values


def _first_unreadable(section: str, record: ArrayRecord) -> RefusedMessageError:
    for key, array in record.items():
        try:
            to_tensors({key: array})
        except Exception as error:
            reason = one_line(str(error))[:200]
            return RefusedMessageError(
                f"the message's {_named(section)} has an array {_named(key)} that cannot be read: {reason}"
            )
    return RefusedMessageError(f"the message's {_named(section)} cannot be read")


def check_sections(
    job: str,
    received: Payload,
    model: Mapping[str, torch.Tensor],
    own_names: Collection[str],
    others: Mapping[str, Section],
) -> None:
    """Check that every section of a message has the form that this client expects, the model first.

    Parameters
    ----------
    job : str
        The type of the message.
    model : Mapping[str, torch.Tensor]
        The client's own model, of the message's size.
    own_names : Collection[str]
        Entries of the model that the client keeps itself: they need not be sent.
    others : Mapping[str, Section]
        The sections that the method declares, by name; ``*`` matches any number.

    Raises
    ------
    RefusedMessageError
        If a section is missing or unknown, or an array of one is missing, unknown, or of another shape or
        dtype.
    """
    _check_model(received[ARRAYS], model, own_names)
    for name, section in others.items():
        if job in section.needed_for and name not in received:
            raise RefusedMessageError(f"the message has no '{name}', which '{job}' needs")
    for name, values in received.items():
        if name == ARRAYS:
            continue
        declared = [section.arrays for key, section in others.items() if fnmatchcase(name, key)]
        if not declared:
            raise RefusedMessageError(
                f"the message has the section {_named(name)}, which clients of this method do not take"
                " (Client.receives)"
            )
        check_form(name, values, declared[0])


def check_receives(value: object, what: str) -> None:
    """Refuse anything but a mapping of names to sections.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    are_sections = isinstance(value, Mapping) and all(isinstance(part, Section) for part in value.values())
    if not are_sections:
        raise UserError(
            f"{what} must be a mapping of names to clients.local.incoming.Section, not {shown(value)}"
        )
    assert isinstance(value, Mapping)
    check_returned({name: part.arrays for name, part in value.items()}, what)
    for name, part in value.items():
        if isinstance(part.needed_for, str) or not {*part.needed_for} <= {*_JOBS}:
            raise UserError(
                f"{what}: needed_for of the section '{name}' must be some of {', '.join(_JOBS)}, or (), not"
                f" {shown(part.needed_for)}"
            )


def check_form(section: str, values: Mapping[str, torch.Tensor], form: Mapping[str, torch.Tensor]) -> None:
    """Check that a section has the arrays of `form`, with their shapes and dtypes.

    Raises
    ------
    RefusedMessageError
        If one is missing, unknown, or of another shape or dtype.
    """
    if missing := form.keys() - values.keys():
        raise RefusedMessageError(f"the message's '{section}' lacks the array {_named(min(missing))}")
    for name, value in values.items():
        if name not in form:
            raise RefusedMessageError(f"the message's '{section}' has an unknown array {_named(name)}")
        if _is_other(value, form[name]):
            raise RefusedMessageError(
                f"the message's '{section}' has '{name}' as {_layout(value)}, expected {_layout(form[name])}"
            )


def _check_model(
    received: Mapping[str, torch.Tensor], model: Mapping[str, torch.Tensor], own_names: Collection[str]
) -> None:
    if missing := model.keys() - received.keys() - set(own_names):
        raise RefusedMessageError(f"the message lacks the array {_named(min(missing))} of the model")
    for name, value in received.items():
        if name not in model:
            raise RefusedMessageError(
                f"the message has an array {_named(name)}, which the model does not have"
            )
        if _is_other(value, model[name]):
            raise RefusedMessageError(
                f"the message's array '{name}' is {_layout(value)}, but the model's is {_layout(model[name])}"
            )


def check_size(size: str, model: torch.nn.Module) -> None:
    """Check that a model has sub-models of a size, before one is built.

    Raises
    ------
    RefusedMessageError
        If it does not.
    """
    try:
        is_known = not size or as_splittable(model).size_name(size) == size
    except UserError:
        is_known = False
    if not is_known:
        raise RefusedMessageError(
            f"the message's '{CONFIG}' has {SIZE} = {shown(size)}, which is not a size of this run"
        )


def _is_other(value: torch.Tensor, expected: torch.Tensor) -> bool:
    return (value.dtype, value.shape) != (expected.dtype, expected.shape)


def _layout(value: torch.Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"


def _named(name: str) -> str:
    return f"'{one_line(name)}'" if len(name) <= _LONGEST_NAME else f"of {len(name)} characters"
