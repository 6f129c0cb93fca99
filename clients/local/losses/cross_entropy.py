"""Cross-entropy."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of -log p_y over samples."""
    return F.cross_entropy(logits, targets)
