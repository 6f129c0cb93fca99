"""What hooks return, checked."""

from collections.abc import Collection, Mapping

import torch

from clients.hooks import Hooks
from clients.local.batches import Batch
from clients.local.incoming import Section, check_receives
from clients.local.optimizers import parameter_of
from common.errors import UserError, nearest, shown
from common.plugin_kinds import LOSS
from common.plugins import is_from_outside
from common.records import Payload, Tensors
from common.returned import (
    check_entries,
    check_like,
    check_loss,
    check_names,
    check_returned,
    check_returned_tensors,
    check_sent,
)


def checked_init_state(client: Hooks) -> Payload:
    """Return the state of ``init_state``.

    Raises
    ------
    UserError
        If it is not a mapping of sections.
    """
    state = client.init_state()
    check_sent(state, f"what {type(client).__name__}.init_state returns")
    return state


def checked_state_form(client: Hooks) -> Payload:
    """Return what ``state_form`` returns; errors as `checked_init_state`."""
    form = client.state_form()
    hook = "state_form" if client.overrides("state_form") else "init_state"
    check_returned(form, f"what {type(client).__name__}.{hook} returns")
    return form


def checked_receives(client: Hooks) -> Mapping[str, Section]:
    """Return what ``receives`` returns; errors as `checked_init_state`."""
    sections = client.receives()
    check_receives(sections, f"what {type(client).__name__}.receives returns")
    return sections


def checked_initial_optimizer(client: Hooks) -> Tensors:
    """Return the state of ``initial_optimizer``.

    Raises
    ------
    UserError
        If it is not what the run's optimiser keeps of some of the parameters.
    """
    state = client.initial_optimizer()
    what = f"what {type(client).__name__}.initial_optimizer returns"
    check_returned_tensors(state, what)
    if state and client.is_from_outside:
        form = client.worker.optimizer_form
        if unknown := next((key for key in state if key not in form), ""):
            raise UserError(
                f"{what} has {shown(unknown)}, which the optimiser does not keep{nearest(unknown, form)}"
                " (its keys are '<quantity>/<parameter>')"
            )
        given = {parameter_of(key) for key in state}
        names = [key for key in form if parameter_of(key) in given]
        check_like(state, form, what, "give all that is kept of a parameter, or nothing", names)
    return state


def checked_personal_model(client: Hooks) -> Tensors:
    """Return the entries of ``personal_model``, none if there is no such model.

    Raises
    ------
    UserError
        If they are not like entries of the model.
    """
    own = client.personal_model() or {}
    check_entries(own, client.worker.model_state, f"what {type(client).__name__}.personal_model returns")
    return own


def checked_loss(client: Hooks, params: Tensors, batch: Batch) -> torch.Tensor:
    """Return a client's loss of a mini-batch.

    Raises
    ------
    UserError
        If it is not a scalar tensor with a gradient.
    """
    loss = client.loss(params, batch)
    check_loss(loss, _loss_returned(client))
    return loss


def check_reaches_parameters(client: Hooks) -> None:
    """Refuse a loss whose backward pass has left no parameter of the model a gradient."""
    if all(parameter.grad is None for parameter in client.worker.parameters.values()):
        raise UserError(
            f"{_loss_returned(client)} does not depend on the model's parameters: compute it from"
            " self.forward(params, batch.inputs)"
        )


def check_first_loss(client: Hooks, loss: torch.Tensor) -> None:
    """Refuse a loss from outside the project that is not finite before the model has taken a step."""
    if (client.is_from_outside and client.overrides("loss")) or is_from_outside(
        LOSS, client.worker.config.loss.name
    ):
        raise UserError(
            f"{_loss_returned(client)} must be finite, and is {loss.item()} for the initial model, in the"
            f" first local step of client {client.client_id}"
        )


def _loss_returned(client: Hooks) -> str:
    """Return what to call the value of a client's loss in messages."""
    if client.overrides("loss"):
        return f"what {type(client).__name__}.loss returns"
    return f"what the loss '{client.worker.config.loss.name}' returns"


def check_trained_names(client: Hooks, names: Collection[str]) -> None:
    """Refuse to train a part that the model does not have, such as a body."""
    check_names(names, client.worker.model_state, f"what {type(client).__name__}.trained_names returns")
    if not any(name in client.params for name in names):
        config = client.worker.config
        raise UserError(
            f"method.name '{config.method.name}' has nothing to train in local step {client.num_steps + 1}:"
            f" the part of the model trained in it has no parameters in '{config.model.name}'; choose"
            " another model or method"
        )


def corrected_gradients(client: Hooks, params: Tensors, grads: Tensors) -> Tensors:
    """Return what ``correct_gradients`` makes of gradients.

    Raises
    ------
    UserError
        If one is missing, is not one of them, or is not like its parameter.
    """
    names = list(grads)  # the hook may change the mapping itself
    corrected = client.correct_gradients(params, grads)
    what = f"what {type(client).__name__}.correct_gradients returns"
    missing = "return grads['{name}'] to leave that gradient as it is, zeros for none"
    check_like(corrected, params, what, missing, names)
    return corrected
