"""Initial weights from another run, for the next phase of a study."""

from torch import nn

from common.records import is_finite
from models.weights.local_weights import misfit, misfit_of, read_state


def load_run_weights(model: nn.Module, model_name: str, path: str) -> None:
    """Copy all of the ``model.safetensors`` of a run of the same model, BatchNorm statistics included.

    Nothing else of that run is resumed: counters, schedules and optimisers start from scratch.

    Parameters
    ----------
    model : nn.Module
        The model.
    model_name : str
        Its name, for messages.
    path : str
        The file; also a state dict saved by torch (read without running code).

    Raises
    ------
    UserError
        If the file cannot be read, or its entries do not match the model's.
    """
    state, target = read_state(path), model.state_dict()
    for name, value in target.items():
        if name not in state:
            raise misfit(path, model_name, f"it lacks '{name}'")
        if reason := misfit_of(state[name], value):
            raise misfit(path, model_name, f"'{name}' {reason}")
        if not is_finite(state[name]):
            raise misfit(path, model_name, f"'{name}' is not finite")
    if unknown := next((name for name in state if name not in target), None):
        raise misfit(path, model_name, f"the model has no '{unknown}'")
    model.load_state_dict(dict(state))
