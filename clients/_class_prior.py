"""Logits that are shifted by how frequent the classes are, so that rare ones are learnt as well."""

import torch


def log_prior(counts: torch.Tensor, tau: float = 1.0) -> torch.Tensor:
    """Return tau log(counts), to be added to the logits of a cross-entropy while training.

    With tau = 1 that is balanced softmax (Ren et al., NeurIPS 2020); in general the logit-adjusted loss
    (Menon et al., ICLR 2021), for which counts and frequencies are the same. A class without samples has
    minus infinity: it takes no part in the softmax.

    Parameters
    ----------
    counts : torch.Tensor
        (classes,): samples of each class.
    tau : float, default 1
        Strength; 0 is plain cross-entropy.
    """
    return tau * counts.double().log().float() if tau > 0 else torch.zeros(len(counts), device=counts.device)
