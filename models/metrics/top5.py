"""Whether the true class is among the five with the largest logits."""

from torch import Tensor


def metric(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of hits and of targets; negative targets are padding.

    Parameters
    ----------
    outputs, targets : Tensor
        Logits (samples, classes) or (samples, classes, positions), and classes (samples,) or (samples,
        positions).
    """
    best = outputs.topk(min(5, outputs.shape[1]), dim=1).indices
    return (best == targets.unsqueeze(1)).any(dim=1).sum(), (targets >= 0).sum()
