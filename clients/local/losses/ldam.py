"""LDAM: margins that are larger for rarer classes."""

from typing import Annotated

import torch
from pydantic import Field
from torch.nn import functional as F

from clients.local.losses._samples import mean, samples


def loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    label_counts: torch.Tensor,
    *,
    margin: Annotated[float, Field(ge=0, le=1e6)] = 0.5,
    scale: Annotated[float, Field(gt=0, le=1e6)] = 30.0,
) -> torch.Tensor:
    """Return the cross-entropy of scale (s - margin_y on the label's score) (Cao et al. 2019, Eq. 13)."""
    scores, labels = samples(logits, targets)
    of_label = margins(label_counts, margin).to(scores.device)[labels].to(scores.dtype)
    shifted = scores.scatter_add(1, labels, -of_label)
    return mean(F.cross_entropy(scale * shifted, labels[:, 0], reduction="none"), targets)


def margins(counts: torch.Tensor, largest: float) -> torch.Tensor:
    """Return margins proportional to n_c^(-1/4), the largest being `largest` (Cao et al. 2019, Eq. 12).

    A class without samples has margin 0, which is never used.
    """
    by_class = torch.where(counts > 0, counts.double().clamp(min=1) ** -0.25, 0.0)
    return (by_class * (largest / by_class.max())).float()
