"""Which device computes."""

import torch
from torch import nn

from common.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Turn the key ``device`` into a torch device; ``auto`` takes a GPU if there is one.

    Raises
    ------
    UserError
        If the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"device '{name}' cannot be used here ({reason}); use 'auto', 'cpu' or 'cuda'"
        ) from None
    return device


def to_device(model: nn.Module, device: torch.device, channels_last: bool) -> None:
    """Move a model to a device, with channels-last convolution weights if asked for."""
    memory_format = torch.channels_last if channels_last else torch.preserve_format
    model.to(device=device, memory_format=memory_format)  # type: ignore[call-overload]
