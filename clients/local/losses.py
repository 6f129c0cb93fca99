"""Losses of a mini-batch by name (``local.loss``)."""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F

from common.sections import LocalSection

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def make_loss(local: LocalSection, count_labels: Callable[[], torch.Tensor]) -> Loss:
    """Return the loss ``local.loss`` of (logits, targets): the mean over samples, or over positions.

    Logits have the shape (samples, classes) or (samples, classes, positions), targets are int64 of shape
    (samples,) or (samples, positions); negative ones do not count.

    Parameters
    ----------
    local : LocalSection
        The name, and the losses' parameters.
    count_labels : callable
        Counts the client's training samples by class; asked for if the loss depends on it.
    """
    if local.loss == "focal":
        return functools.partial(focal, gamma=local.focal_gamma)
    if local.loss == "ldam":
        margins = ldam_margins(count_labels(), local.ldam_margin)
        return functools.partial(ldam, margins=margins, scale=local.ldam_scale)
    losses: dict[str, Loss] = {"cross-entropy": F.cross_entropy, "hinge": hinge, "mse": squared_error}
    return losses[local.loss]


def squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of outputs and numbers."""
    return F.mse_loss(outputs.reshape(targets.shape), targets)


def hinge(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of max_j (s_j + [j != y] - s_y) over samples (Crammer and Singer 2001)."""
    scores, labels = _samples(logits, targets)
    margins = torch.ones_like(scores).scatter(1, labels, 0.0)
    return (scores + margins - scores.gather(1, labels)).amax(dim=1).mean()


def focal(logits: torch.Tensor, targets: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the mean of -(1 - p_y)^gamma log p_y over samples (Lin et al. 2017, Eq. 4).

    Both factors are found in log space: log p_y from the label's score, log(1 - p_y) from the others', so
    that neither vanishes, nor its gradient, where the scores are far apart.
    """
    scores, labels = _samples(logits, targets)
    exact = torch.promote_types(scores.dtype, torch.float32)
    log_probabilities = F.log_softmax(scores, dim=1, dtype=exact)
    least = torch.finfo(exact).min  # minus infinity would have no gradient
    log_rest = torch.logsumexp(log_probabilities.scatter(1, labels, least), dim=1)
    return -(torch.exp(gamma * log_rest) * log_probabilities.gather(1, labels)[:, 0]).mean()


def ldam_margins(counts: torch.Tensor, largest: float) -> torch.Tensor:
    """Return margins proportional to n_c^(-1/4), the largest being `largest` (Cao et al. 2019, Eq. 12).

    A class without samples has none; nothing asks for its margin.
    """
    margins = torch.where(counts > 0, counts.double().clamp(min=1) ** -0.25, 0.0)
    return (margins * (largest / margins.max())).float()


def ldam(logits: torch.Tensor, targets: torch.Tensor, margins: torch.Tensor, scale: float) -> torch.Tensor:
    """Return the cross-entropy of scale (s - margin_y on the label's score) (Cao et al. 2019, Eq. 13)."""
    scores, labels = _samples(logits, targets)
    of_label = margins.to(scores.device)[labels].to(scores.dtype)
    shifted = scores.scatter_add(1, labels, -of_label)
    return F.cross_entropy(scale * shifted, labels[:, 0])


def _samples(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores (samples, classes) and labels (samples, 1) of what counts."""
    scores = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    labels = targets.reshape(-1)
    return scores[labels >= 0], labels[labels >= 0, None]
