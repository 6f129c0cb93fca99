"""The state that clients keep from round to round: its sections, and their form."""

from fnmatch import fnmatchcase

from clients.base import KEPT_ENTRIES, Client
from clients.local.checked_hooks import checked_state_form
from clients.local.compression import LEFT_OUT, form_of_left_out
from clients.local.incoming import RefusedMessageError, check_form
from common.errors import UserError, shown
from common.records import Payload, Tensors
from common.returned import check_like, check_sent


def keeps_state(client: Client) -> bool:
    """Return whether a client keeps any state between rounds."""
    return any((client.kept_names, checked_state_form(client), form_of_left_out(client)))


def check_state(client: Client) -> None:
    """Refuse a state after a job that `take_state` would not take back.

    Only the sections that this job has added are compared with their form.

    Raises
    ------
    UserError
        If it is no mapping of sections, has one that is not declared, or one of another form.
    """
    name = type(client).__name__
    check_sent(client.state, f"the state of {name}")
    if not (added := sorted(client.state.keys() - client.sections_before)):
        return
    forms = _forms(client)
    for section in added:
        if (form := _form_of(section, forms)) is None:
            raise UserError(
                f"method.name '{client.worker.config.method.name}': its client half keeps the state"
                f" '{section}' without declaring it: return it from init_state or state_form"
            )
        if client.is_from_outside:
            missing = "keep the form that init_state, or state_form, gives it"
            check_like(client.state[section], form, f"the state '{section}' of {name}", missing)


def take_state(client: Client, state: Payload) -> None:
    """Set a client's state to one that the server sent, after checking that it has the form of one.

    Raises
    ------
    RefusedMessageError
        If a section is unknown, or an array of it is missing, unknown, or of another shape or dtype.
    """
    client.state = state
    forms = _forms(client)
    for section in sorted(state):
        if (form := _form_of(section, forms)) is None:
            raise RefusedMessageError(f"the message has the state {shown(section)}, which no client keeps")
        check_form(section, state[section], form)


def _forms(client: Client) -> Payload:
    """Return the form of every section that a client may keep, by name or pattern."""
    own = {name: client.worker.model_state[name] for name in client.kept_names}
    return {**checked_state_form(client), KEPT_ENTRIES: own, LEFT_OUT: form_of_left_out(client)}


def _form_of(section: str, forms: Payload) -> Tensors | None:
    return next((form for pattern, form in forms.items() if fnmatchcase(section, pattern)), None)
