"""Label noise, drawn again at every use (Gu et al., ICLR 2023, section 4 and code)."""

import math

import torch
from torch.nn import functional as F


def corrupt_labels(
    targets: torch.Tensor, probability: float, num_classes: int, generator: torch.Generator
) -> torch.Tensor:
    """Replace each label, with a given probability, by one of the others, all equally likely.

    Parameters
    ----------
    targets : torch.Tensor
        int64 labels of any shape; negative ones are padding and stay.
    probability : float
        p: P(y' = y) = 1 - p and P(y' = c) = p / (C - 1) for each c other than y.
    num_classes : int
        C, at least 2.
    generator : torch.Generator
        Draws the noise; on the device of the labels.

    Returns
    -------
    torch.Tensor
        New labels; `targets` does not change.
    """
    device = targets.device
    flips = torch.rand(targets.shape, generator=generator, device=device) < probability
    shifts = torch.randint(1, num_classes, targets.shape, generator=generator, device=device)
    return torch.where(flips & (targets >= 0), (targets + shifts) % num_classes, targets)


def expected_counts(counts: torch.Tensor, probability: float) -> torch.Tensor:
    """Return the expected number of noisy labels of each class.

    Parameters
    ----------
    counts : torch.Tensor
        (classes,): true labels of each class.
    probability : float
        p of ``corrupt_labels``; 0 returns the counts unchanged.
    """
    if probability == 0:
        return counts
    others = (counts.sum() - counts) / (len(counts) - 1)
    return (1 - probability) * counts + probability * others


def expected_loss(
    logits: torch.Tensor, targets: torch.Tensor, probability: float, num_classes: int = 0
) -> torch.Tensor:
    """Return each sample's expected cross-entropy over its noisy label, in the shape of `targets`.

    Parameters
    ----------
    logits : torch.Tensor
        (samples, classes), or (samples, classes, positions) for targets (samples, positions).
    targets : torch.Tensor
        True labels, none of them negative.
    probability : float
        p of ``corrupt_labels``.
    num_classes : int
        C of ``corrupt_labels``: the first C logits are used; 0: all of them.
    """
    losses = -F.log_softmax(logits, dim=1)[:, : num_classes or None]
    of_true = losses.gather(1, targets.unsqueeze(1)).squeeze(1)
    others = (losses.sum(dim=1) - of_true) / (losses.shape[1] - 1)
    return (1 - probability) * of_true + probability * others


def expected_loss_floor(probability: float, num_classes: int) -> float:
    """Return the least expected loss, the noisy label's entropy -(1 - p) log(1 - p) - p log(p / (C - 1))."""
    if probability == 0:
        return 0.0
    kept = 1 - probability
    entropy = -probability * math.log(probability / (num_classes - 1))
    return entropy - (kept * math.log(kept) if kept else 0.0)
