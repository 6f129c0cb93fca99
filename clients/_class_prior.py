"""Logits shifted by class frequencies, so that rare classes are learnt as well."""

import torch


def log_prior(counts: torch.Tensor, tau: float = 1.0) -> torch.Tensor:
    """Return tau log(counts), to be added to the logits of the cross-entropy in training.

    With tau = 1 this is balanced softmax (Ren et al., NeurIPS 2020); in general, the logit-adjusted loss
    (Menon et al., ICLR 2021), which is the same for counts and frequencies. A class without samples has
    minus infinity, and so no part in the softmax.

    Parameters
    ----------
    counts : torch.Tensor
        (classes,): samples of each class.
    tau : float, default 1
        Strength; 0 is plain cross-entropy.
    """
    return tau * counts.double().log().float() if tau > 0 else torch.zeros(len(counts), device=counts.device)
