"""The confusion matrix of a classifier, and scores from it."""

import torch
from torch import Tensor


def confusion(targets: Tensor, predicted: Tensor, num_classes: int) -> Tensor:
    """Count the samples by true class (rows) and predicted class (columns), int64.

    Negative targets are padding and ignored.
    """
    held = targets >= 0
    pairs = targets[held].long() * num_classes + predicted[held].long()
    return torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)


def scores(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return recall (per-class accuracy), precision and F1 of each class; NaN where undefined.

    F1 is 2 hits / (samples + predictions), which is 0 for a class without hits.
    """
    hits = matrix.diagonal().double()
    samples, predictions = matrix.sum(dim=1).double(), matrix.sum(dim=0).double()
    return hits / samples, hits / predictions, 2 * hits / (samples + predictions)
