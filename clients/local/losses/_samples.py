"""The samples, or positions, that count in a loss."""

import torch


def samples(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (samples, classes) and labels (samples, 1) of the samples or positions that count."""
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    labels = targets.reshape(-1)
    return scores[labels >= 0], labels[labels >= 0, None]
