"""Metrics of local training in addition to the loss, from the logits that it computes anyway."""

from collections import defaultdict
from collections.abc import Mapping

import torch
from torch.nn import functional as F

from datasets.noise.label_noise import expected_loss, expected_loss_floor

HITS, COUNTS, SQUARES, EXPECTED = "hits", "counts", "squares", "expected"  # sums over samples


class TrainingMetrics:
    """Running sums over the mini-batches of a round, each at the weights of its own step.

    Parameters
    ----------
    label_noise : float
        ``dataset.label-noise``; above 0 the expected loss over the noisy labels is measured as well.
    num_classes : int
        Number of labels, which may be smaller than the number of logits.
    squares : bool
        Whether to measure the mean square of the samples' cross-entropies.
    """

    def __init__(self, label_noise: float, num_classes: int, squares: bool) -> None:
        self._label_noise = label_noise
        self._measures_squares = squares
        self._num_classes = num_classes
        self._sums: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._clipped: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Add a mini-batch with its true labels; negative ones are padding, numbers are ignored."""
        if labels.is_floating_point():
            return
        self._sums[HITS].append((logits.argmax(dim=1) == labels).sum())
        self._sums[COUNTS].append((labels >= 0).sum())
        if self._measures_squares:
            self._sums[SQUARES].append(squared_losses(logits, labels).double().sum())
        if self._label_noise > 0:
            losses = expected_loss(precise(logits), labels.clamp(min=0), self._label_noise, self._num_classes)
            self._sums[EXPECTED].append((losses * (labels >= 0)).sum())

    def add_clipping(self, is_clipped: torch.Tensor) -> None:
        """Record whether the gradient of a step was clipped."""
        self._clipped.append(is_clipped)

    def results(self) -> dict[str, float]:
        """Return ``train_accuracy`` and, with label noise, ``train_expected_loss`` and ``train_excess_loss``.

        With squares also ``train_squared_loss``. The excess loss is the expected loss minus its floor, the
        entropy of the noisy label. A method that computes its loss without `Client.forward` has none of
        these. ``train_clipped_fraction`` is the fraction of steps whose gradient was clipped.
        """
        results = self._of_logits()
        if self._clipped:
            results["train_clipped_fraction"] = float(torch.stack(self._clipped).double().mean())
        return results

    def _of_logits(self) -> dict[str, float]:
        sums = {name: torch.stack(values).double().sum().item() for name, values in self._sums.items()}
        return means_of_sums(sums, self._label_noise, self._num_classes)


def means_of_sums(sums: Mapping[str, float], label_noise: float, num_classes: int) -> dict[str, float]:
    """Return the metrics that a client reports, from sums over its samples; empty without samples."""
    count = sums.get(COUNTS, 0)
    if count == 0:
        return {}
    means = {"train_accuracy": sums[HITS] / count}
    if SQUARES in sums:
        means["train_squared_loss"] = sums[SQUARES] / count
    if EXPECTED in sums:
        means["train_expected_loss"] = sums[EXPECTED] / count
        means["train_excess_loss"] = means["train_expected_loss"] - expected_loss_floor(
            label_noise, num_classes
        )
    return means


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Return logits in float32, or as they are if they are more precise."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def squared_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the squared cross-entropy of each sample, 0 for padding (negative labels)."""
    losses = F.cross_entropy(precise(logits), labels.clamp(min=0), reduction="none")
    return losses.square() * (labels >= 0)
