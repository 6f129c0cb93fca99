"""Accuracy by groups of classes, and with the classes that a client lacks masked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.measures.evaluation import Evaluation, tally

GROUP_NAMES = ("head", "middle", "tail")
"""Names of the groups 0, 1 and 2 of classes (``datasets/client_data/class_groups.py``)."""


@dataclass(frozen=True)
class ClassReport:
    """Reports on the predictions on one client's test data, in addition to the loss.

    Attributes
    ----------
    groups : Tensor
        int64, (classes,): this client's group of each class, head, middle or tail.
    allowed : Tensor or None
        bool, (classes,): the classes that are not masked; None: nothing is masked.
    """

    groups: Tensor
    allowed: Tensor | None = None

    def measure(
        self, logits: Tensor, targets: Tensor, class_weights: Tensor | None = None
    ) -> dict[str, float]:
        """Return loss, accuracy in total and per group, F1 scores, and accuracies of masked predictions.

        Parameters
        ----------
        logits : Tensor
            (samples, classes); not written to.
        targets : Tensor
            int64, (samples,), at least one.
        class_weights : Tensor, optional
            (classes,): the weight of each class, whatever its number of samples; by default all samples
            weigh the same.

        Returns
        -------
        dict
            ``loss``, ``accuracy``, ``accuracy_head`` and so on (except groups without samples),
            ``macro_f1``, ``weighted_f1``; with ``allowed``, also ``accuracy_masked`` and its groups.
        """
        sums = tally(logits, targets)
        weights = _effective_weights(sums, class_weights)
        results = {"loss": sums.mean(weights)[0], **self._accuracies("accuracy", sums, weights)}
        results["macro_f1"], results["weighted_f1"] = f1_scores(logits.argmax(1), targets, weights)
        if self.allowed is not None:
            masked = tally(mask_logits(logits, self.allowed), targets)
            results |= self._accuracies("accuracy_masked", masked, weights)
        return results

    def _accuracies(self, name: str, sums: Evaluation, weights: Tensor) -> dict[str, float]:
        return {name: sums.mean(weights)[1], **group_accuracies(name, sums, self.groups, weights)}


def group_accuracies(
    name: str, sums: Evaluation, groups: Tensor, class_weights: Tensor | None = None
) -> dict[str, float]:
    """Return the accuracy over the classes of each group as ``<name>_head`` and so on.

    Groups without samples are left out. `class_weights` as in `Evaluation.mean`; by default all samples weigh
    the same.
    """
    weights = _effective_weights(sums, class_weights)
    results = {}
    for group, group_name in enumerate(GROUP_NAMES):
        of_group = torch.where(groups.cpu() == group, weights, 0.0)
        if float(of_group.sum()) > 0:
            results[f"{name}_{group_name}"] = sums.mean(of_group)[1]
    return results


def mask_logits(logits: Tensor, allowed: Tensor) -> Tensor:
    """Return logits that are minus infinity for the classes that are not allowed."""
    return logits.masked_fill(~allowed.to(logits.device), float("-inf"))


def f1_scores(predictions: Tensor, targets: Tensor, class_weights: Tensor) -> tuple[float, float]:
    """Return macro and weighted F1 over the classes that occur among targets or predictions.

    Parameters
    ----------
    predictions, targets : Tensor
        int64, (samples,).
    class_weights : Tensor
        float64, (classes,): the total weight of each class's samples, 0 for classes without samples.
    """
    predictions, targets = predictions.cpu(), targets.cpu()
    classes = len(class_weights)
    count = torch.bincount(targets, minlength=classes)
    of_sample = (class_weights / count.clamp(min=1))[targets]
    hits = torch.bincount(targets, of_sample * (predictions == targets), minlength=classes)
    predicted = torch.bincount(predictions, of_sample, minlength=classes)
    occurs = (class_weights + predicted) > 0
    scores = 2 * hits[occurs] / (class_weights + predicted)[occurs]
    weighted = (scores * class_weights[occurs]).sum() / class_weights.sum()
    return float(scores.mean()), float(weighted)


def _effective_weights(sums: Evaluation, class_weights: Tensor | None) -> Tensor:
    if class_weights is None:
        return sums.count
    return torch.where(sums.count > 0, class_weights.double().cpu(), 0.0)
