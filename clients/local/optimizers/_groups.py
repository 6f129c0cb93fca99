"""Groups of parameters that optimisers treat alike."""

from collections.abc import Iterable
from typing import Any, Literal

import torch

Groups = list[dict[str, Any]]
Exclude = Literal["none", "norm-bias"]


def parameter_groups(
    parameters: Iterable[torch.Tensor], weight_decay_exclude: Exclude, clip_decay: bool = False
) -> Groups:
    """Return one group of all parameters, or a second one for normalisation parameters and biases.

    These are the parameters with fewer than two dimensions. Their group has no weight decay, and the
    layer-wise optimisers do not scale its rate. With `clip_decay` it is the norm of the gradient plus the
    optimiser's weight decay that is clipped.
    """
    parameters = list(parameters)
    if weight_decay_exclude == "none":
        return [{"params": parameters, "clip_decay": clip_decay}]
    with_decay = [param for param in parameters if param.dim() > 1]
    without = [param for param in parameters if param.dim() <= 1]
    groups: Groups = [
        {"params": with_decay, "clip_decay": clip_decay},
        {"params": without, "clip_decay": clip_decay, "weight_decay": 0.0, "adapt": False},
    ]
    return [group for group in groups if group["params"]]
