"""Check the types of values that users' hooks return or keep."""

from collections.abc import Mapping

import torch

from common.errors import UserError, shown


def check_returned_tensors(value: object, what: str) -> None:
    """Refuse anything but a mapping of names to tensors.

    Raises
    ------
    UserError
        One line that starts with `what`.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{what} must be a mapping of names to tensors, not {shown(value)}")
    for name, tensor in value.items():
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{what} must be a mapping of names to tensors, and '{name}' is {shown(tensor)}")


def check_returned(value: object, what: str) -> None:
    """Refuse anything but a mapping of sections; errors as in `check_returned_tensors`."""
    if not isinstance(value, Mapping):
        raise UserError(f"{what} must be a mapping of sections, not {shown(value)}")
    for name, section in value.items():
        check_returned_tensors(section, f"{what}: section '{name}'")
