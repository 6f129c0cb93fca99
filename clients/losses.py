"""Losses of a mini-batch by name."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def hinge(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of max_j (s_j + [j != y] - s_y) over samples (Crammer and Singer 2001).

    Parameters
    ----------
    logits : torch.Tensor
        Scores s, shape (samples, classes) or (samples, classes, positions).
    targets : torch.Tensor
        int64, shape (samples,) or (samples, positions); negative ones do not count.
    """
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    labels = targets.reshape(-1)
    scores, labels = scores[labels >= 0], labels[labels >= 0, None]
    margins = torch.ones_like(scores).scatter(1, labels, 0.0)
    return (scores + margins - scores.gather(1, labels)).amax(dim=1).mean()


LOSSES: dict[str, Loss] = {"cross-entropy": F.cross_entropy, "hinge": hinge}
