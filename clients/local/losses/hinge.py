"""The hinge loss of several classes."""

import torch

from clients.local.losses._samples import mean, samples


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of max_j (s_j + [j != y] - s_y) over samples (Crammer and Singer 2001)."""
    scores, labels = samples(logits, targets)
    margins = torch.ones_like(scores).scatter(1, labels, 0.0)
    return mean((scores + margins - scores.gather(1, labels)).amax(dim=1), targets)
