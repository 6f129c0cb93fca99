"""Split a model into a shared and a personal part, by the names of its entries."""

from torch import nn

from common.errors import UserError, nearest
from models.batch_norm import is_batch_norm

PARTS = ("head", "body", "batch-norm", "all")


def part_names(model: nn.Module, part: str) -> frozenset[str]:
    """Return the names of the parameters and buffers that belong to a part of a model.

    Parameters
    ----------
    model : torch.nn.Module
        The whole model.
    part : str
        ``head`` (the last layer, ``classifier``), ``body`` (all but the head), ``batch-norm`` (every
        BatchNorm layer, found by type, not by name), ``all``, or modules by name, separated by
        commas: ``fc2,classifier``.

    Raises
    ------
    UserError
        If the model has no such module, or none of that kind.
    """
    names = frozenset(model.state_dict())
    if part == "all":
        return names
    if part == "body":
        return names - part_names(model, "head")
    if part == "batch-norm":
        prefixes = [name for name, module in model.named_modules() if is_batch_norm(module)]
        if not prefixes:
            raise UserError("the model has no BatchNorm layers to keep personal: choose one that has")
    else:
        prefixes = ["classifier"] if part == "head" else [name.strip() for name in part.split(",")]
    modules = dict(model.named_modules())
    for prefix in prefixes:
        if prefix not in modules or not prefix:
            known = [*PARTS, *(name for name in modules if name)]
            raise UserError(
                f"the model has no part '{prefix}'{nearest(prefix, known)} (parts: {', '.join(PARTS)},"
                " or names of its modules)"
            )
    return frozenset(name for name in names if name.startswith(tuple(f"{prefix}." for prefix in prefixes)))


def check_parts(model: nn.Module, key: str, part: str, trains_rest: bool = False) -> None:
    """Refuse a part without parameters and, with `trains_rest`, one that leaves none for clients to share.

    Raises
    ------
    UserError
        With the name of the key that chose the part.
    """
    parameters = {name for name, _ in model.named_parameters()}
    inside = parameters & part_names(model, part)
    if not inside:
        raise UserError(
            f"{key} = '{part}' is a part of the model without parameters: choose another, or another model"
        )
    if trains_rest and inside == parameters:
        raise UserError(
            f"{key} = '{part}' is the whole model, and nothing is left for the clients to share: choose a"
            " smaller part, or a larger model"
        )
