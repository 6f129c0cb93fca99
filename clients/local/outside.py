"""What is checked of client halves from outside the project, whose hooks may do anything."""

from collections.abc import Mapping

from clients.hooks import Hooks
from clients.local.job import Job
from clients.local.numpy_client import ListInterface
from common.errors import UserError, shown
from common.parameters import class_parameters
from common.records import ARRAYS, Payload
from common.returned import check_entries, check_metrics, check_number, check_sent


def check_declared(client: Hooks) -> None:
    """Refuse declarations that cannot work, before any training.

    Raises
    ------
    UserError
        One line that names the class.
    """
    name = type(client).__name__
    check_number(client.proximal_weight, f"{name}.proximal_weight")
    for job, instead in (("fit", "train"), ("evaluate", "test")):
        if getattr(type(client), job) is not getattr(ListInterface, job):
            raise UserError(
                f"{name}.{job} would never be called: what a run calls is {instead}, and hooks such as loss,"
                " end_round and personal_model"
            )
    annotated = (key for part in Hooks.__mro__ for key in vars(part).get("__annotations__", ()))
    taken = {*vars(Job(client.worker, client.client_id)), *annotated}
    if hidden := sorted(class_parameters(type(client)).keys() & taken):
        raise UserError(
            f"the parameter '{hidden[0]}' of {name} has the name of an attribute that every client has:"
            " choose another"
        )


def check_answer(client: Hooks, job: str, answer: object) -> None:
    """Refuse anything but sections and metrics as what a job, a method of the client, returns.

    Raises
    ------
    UserError
        One line that names the class and the job.
    """
    what = f"what {type(client).__name__}.{job} returns"
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise UserError(f"{what} must be a pair of sections and metrics, not {shown(answer)}")
    sections, metrics = answer
    check_sent(sections, what)
    check_entries(sections.get(ARRAYS, {}), client.worker.model_state, what)
    check_metrics(metrics, "num-examples", f"{what} as metrics")


def check_measured(client: Hooks, job: str, metrics: object) -> None:
    """Refuse anything but metrics as what a job returns; errors as in `check_answer`."""
    check_metrics(metrics, "num-examples", f"what {type(client).__name__}.{job} returns")


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
