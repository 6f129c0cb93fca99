"""Per-class gradients of a linear head."""

import torch
from torch.nn import functional as F


@torch.no_grad()
def class_gradients(features: torch.Tensor, targets: torch.Tensor, head: torch.nn.Linear) -> torch.Tensor:
    """Return the gradient of each class's mean cross-entropy with respect to the head's weight.

    Parameters
    ----------
    features : torch.Tensor
        (samples, d): the inputs of the head.
    targets : torch.Tensor
        int64, (samples,).
    head : torch.nn.Linear
        From d features to the classes.

    Returns
    -------
    torch.Tensor
        (classes, classes, d): [j, p] is the gradient of class j's loss in row p of the weight. Zero for a
        class without samples.
    """
    one_hot = F.one_hot(targets, head.out_features).to(features.dtype)
    errors = head(features).softmax(dim=1) - one_hot
    of_class = one_hot / one_hot.sum(dim=0).clamp(min=1)
    return torch.einsum("nj,np,nd->jpd", of_class, errors, features)
