"""Two-step commit of client state: a new state counts once the server has taken the reply of its job.

A reply may be lost, late, or refused. If the run continues (``failures.policy = "drop"``), a client that kept
the state of such a job would no longer agree with the server: SCAFFOLD's c would no longer be the mean of all
c_i. So the new state is put aside, and the next message, which names the replies that were not taken
(``server.messages.taken_replies``), decides whether it replaces the old one.
"""

from flwr.app import ConfigRecord, Context, RecordDict

from common.flower import entries
from common.records import (
    EXCHANGE,
    LOST,
    NUMBER,
    Payload,
    array_records,
    config_record,
    reply_name,
    to_record,
)

_ASIDE = "aside"
_PREFIX = f"{_ASIDE}::"


def settle(state: RecordDict, content: RecordDict) -> None:
    """Replace a client's state with the one put aside, unless a message says that its reply was lost."""
    if _ASIDE not in state:
        return
    reply = str(config_record(state, _ASIDE)[NUMBER])
    exchange = _exchange(content)
    lost = exchange is not None and reply in exchange[LOST]  # type: ignore[operator]
    del state[_ASIDE]
    kept = array_records(state)
    for name in kept:  # the state put aside is complete: a section that is not in it was dropped
        if name.startswith(_PREFIX) or not lost:
            del state[name]
    for name, record in kept.items() if not lost else ():
        if name.startswith(_PREFIX):
            state[name.removeprefix(_PREFIX)] = record


def keep(context: Context, kept: Payload, client_id: int, content: RecordDict) -> None:
    """Store a client's state after a job; put it aside if the server may not take the reply."""
    exchange = _exchange(content)
    prefix = "" if exchange is None else _PREFIX
    for name in array_records(context.state) if exchange is None else ():
        if name not in kept:
            del context.state[name]
    for name, section in kept.items():
        context.state[prefix + name] = to_record(section)
    if exchange is not None:
        name = reply_name(int(exchange[NUMBER]), client_id)  # type: ignore[arg-type]
        context.state[_ASIDE] = ConfigRecord({NUMBER: name})


def _exchange(content: RecordDict) -> ConfigRecord | None:
    record = entries(content).get(EXCHANGE)
    return record if isinstance(record, ConfigRecord) else None
