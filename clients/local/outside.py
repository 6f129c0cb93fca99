"""What is checked of client halves from outside the project, whose hooks may do anything."""

from collections.abc import Mapping

from clients.hooks import Hooks
from clients.local.job import Job
from common.errors import UserError
from common.parameters import class_parameters
from common.records import Payload
from common.returned import check_number


def check_declared(client: Hooks) -> None:
    """Refuse declarations that cannot work, before any training.

    Raises
    ------
    UserError
        One line that names the class.
    """
    name = type(client).__name__
    check_number(client.proximal_weight, f"{name}.proximal_weight")
    annotated = (key for part in Hooks.__mro__ for key in vars(part).get("__annotations__", ()))
    taken = {*vars(Job(client.worker, client.client_id)), *annotated}
    if hidden := sorted(class_parameters(type(client)).keys() & taken):
        raise UserError(
            f"the parameter '{hidden[0]}' of {name} has the name of an attribute that every client has:"
            " choose another"
        )


def versions(sections: Payload) -> dict[tuple[str, str], int]:
    """Return how often each tensor was written to, as torch counts it."""
    return {
        (section, name): value._version
        for section, values in sections.items()
        for name, value in values.items()
        if not value.is_inference()
    }


def check_writes(client: Hooks, before: Mapping[tuple[str, str], int]) -> None:
    """Refuse writes into tensors that all clients of this process share, and writes that have no effect.

    `before` are the ``versions`` of what the client has received.
    """
    name, after = type(client).__name__, versions(client.received)
    if written := next((place for place, was in before.items() if after.get(place, was) != was), ()):
        section, entry = written
        raise UserError(
            f"{name} has written into '{entry}' of received['{section}'], which the other clients are sent as"
            " well: make a new tensor, or a copy with clone()"
        )
    resident = client.worker.parameters
    if other := next((key for key, value in client.params.items() if value is not resident.get(key)), ""):
        raise UserError(
            f"{name} has put another tensor into params['{other}'], which does not change the model: write"
            " into the tensor that is there (copy_, mul_), under torch.no_grad()"
        )
