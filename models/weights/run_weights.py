"""Initial weights from another run, for the next phase of a study."""

from torch import nn

from common.errors import UserError
from common.records import is_finite
from models.weights.local_weights import read_state


def load_run_weights(model: nn.Module, model_name: str, path: str) -> None:
    """Copy the ``model.safetensors`` of a run of the same model, all of it, BatchNorm statistics included.

    Nothing else of that run is continued: counters, schedules and optimisers start again.

    Parameters
    ----------
    model : nn.Module
        The model.
    model_name : str
        Its name, for messages.
    path : str
        The file; a state dict that torch has saved will do (read without running code).

    Raises
    ------
    UserError
        If the file cannot be read, or its entries are not those of the model.
    """
    state, target = read_state(path), model.state_dict()
    for name, value in target.items():
        if name not in state:
            raise _misfit(path, model_name, f"it lacks '{name}'")
        if state[name].shape != value.shape:
            shapes = f"{tuple(state[name].shape)} there and {tuple(value.shape)} in the model"
            raise _misfit(path, model_name, f"'{name}' is {shapes}")
        if state[name].is_floating_point() != value.is_floating_point():
            raise _misfit(path, model_name, f"'{name}' is of type {state[name].dtype} there")
        if state[name].is_floating_point() != value.is_floating_point():
            kinds = f"{state[name].dtype} there and {value.dtype} in the model"
            raise _misfit(path, model_name, f"'{name}' is {kinds}")
        if not is_finite(state[name]):
            raise _misfit(path, model_name, f"'{name}' is not finite")
    if unknown := next((name for name in state if name not in target), None):
        raise _misfit(path, model_name, f"the model has no '{unknown}'")
    model.load_state_dict(dict(state))


def _misfit(path: str, model_name: str, reason: str) -> UserError:
    return UserError(f"model.weights: '{path}' does not fit model '{model_name}': {reason}")
