"""The hinge loss of several classes."""

import torch

from clients.local.losses._samples import mean, samples


def loss(logits: torch.Tensor, targets: torch.Tensor, *, smooth: bool = False) -> torch.Tensor:
    """Return the mean of max_j t_j over samples, t_j = s_j + [j != y] - s_y (Crammer and Singer 2001).

    With ``smooth`` a sample counts sum_j p_j t_j where that is at least 0; p is the softmax of s, through
    which no gradient flows (the code of Berrada, Zisserman and Kumar 2019, arXiv:1811.07591).
    """
    scores, labels = samples(logits, targets)
    terms = scores + torch.ones_like(scores).scatter(1, labels, 0.0) - scores.gather(1, labels)
    losses = terms.amax(dim=1)
    if smooth:
        smoothed = (scores.detach().softmax(dim=1) * terms).sum(dim=1)
        losses = torch.where(smoothed >= 0, smoothed, losses)
    return mean(losses, targets)
