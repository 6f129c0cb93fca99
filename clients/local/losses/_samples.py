"""The samples, or positions, that count in a loss.

They are chosen by factors instead of by an index, for which a step would wait for the GPU, and which has no
rule for stacked clients.
"""

import torch


def samples(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (samples, classes) and labels (samples, 1); those that do not count have label 0."""
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    return scores, targets.reshape(-1, 1).clamp(min=0)


def mean(losses: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of the losses (samples,) of those that count."""
    counts = targets.reshape(-1) >= 0
    return torch.where(counts, losses, 0.0).sum() / counts.sum()
