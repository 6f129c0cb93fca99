"""Loss and accuracy of a model on a split."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.global_generators import seeded_if_drawn
from models.measures.own import BatchSums, Metric, Own, OwnSums, batch_sums
from models.outside import own_generators


@dataclass(frozen=True)
class Evaluation:
    """Sums per class, or per group of samples, so that any weighting can be formed from them.

    Attributes
    ----------
    count, loss, correct : Tensor
        float64, shape (num_classes,): targets, summed cross-entropy, and hits by true class (or by group).
    own : mapping
        The run's own metrics, over all samples.
    """

    count: Tensor
    loss: Tensor
    correct: Tensor
    own: Own = field(default_factory=dict)

    def mean(self, class_weights: Tensor | None = None) -> tuple[float, float]:
        """Return (loss, accuracy) over all samples, or with classes weighted by `class_weights`.

        A class without samples is ignored, whatever its weight.
        """
        if class_weights is None:
            total = self.count.sum()
            return float(self.loss.sum() / total), float(self.correct.sum() / total)
        weights = torch.where(self.count > 0, class_weights.double().cpu(), 0.0)
        weights = weights / weights.sum() / self.count.clamp(min=1)
        return float((weights * self.loss).sum()), float((weights * self.correct).sum())


@dataclass(frozen=True)
class BatchMeasures:
    """Per-sample measures of one batch: adding batches in order gives the same bits.

    Attributes
    ----------
    values : tuple of Tensor
        Per target: for labels float32 losses and bool hits, for numbers float32 errors.
    own : mapping
        The run's own metrics.
    """

    values: tuple[Tensor, ...]
    own: BatchSums

    def cpu(self) -> "BatchMeasures":
        """Return the same on the CPU."""
        return BatchMeasures(tuple(value.cpu() for value in self.values), self.own)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[Callable[[], bool]]:
    """Put `model` in evaluation mode, and restore the mode of every module afterwards.

    A model that draws random numbers even in evaluation mode draws the same ones every time. The block gets
    a function that returns whether it has drawn any yet.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        with seeded_if_drawn(device, own_generators(model)) as drew:
            yield drew
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def evaluate(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    num_classes: int,
    batch_size: int,
    groups: Tensor | None = None,
    predictor: Callable[[Tensor], Tensor] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Evaluation:
    """Evaluate `model` on one split, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Classifier that returns logits (samples, num_classes), or (samples, num_classes, positions) for
        targets (samples, positions).
    inputs, targets : Tensor
        The split; inputs are normalised batch by batch, on the device of the model. Negative targets are
        padding and ignored.
    normalizer : callable
        Converts a batch of raw inputs to the model's inputs.
    groups : Tensor, optional
        int64, shape (samples,): sum per group instead of per class.
    predictor : callable, optional
        Computes the logits instead of the model, which is in evaluation mode all the same.
    metrics : mapping, optional
        The run's own metrics.
    """
    device = next(model.parameters()).device
    with evaluation_mode(model):
        batches = label_measures(
            predictor or model, inputs, targets, normalizer, batch_size, device, metrics or {}
        )
        return label_sums(batches, targets, num_classes, batch_size, groups, device)


def predicted_batches(
    predictor: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield float32 predictions and the targets, batch by batch; parameters as for `evaluate`."""
    for start in range(0, len(targets), batch_size):
        batch = targets[start : start + batch_size].to(device)
        yield predictor(normalizer(inputs[start : start + batch_size].to(device))).float(), batch


def label_measures(
    predictor: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
    metrics: Mapping[str, Metric],
) -> Iterator[BatchMeasures]:
    """Yield losses and hits, in the shape of the targets, batch by batch; parameters as for `evaluate`."""
    for logits, batch in predicted_batches(predictor, inputs, targets, normalizer, batch_size, device):
        losses = F.cross_entropy(logits, batch, reduction="none")
        yield BatchMeasures((losses, logits.argmax(dim=1) == batch), batch_sums(logits, batch, metrics))


def label_sums(
    batches: Iterable[BatchMeasures],
    targets: Tensor,
    num_classes: int,
    batch_size: int,
    groups: Tensor | None,
    device: torch.device | str,
) -> Evaluation:
    """Add up what ``label_measures`` yielded for a split, in order; parameters as for `evaluate`."""
    num_sums = num_classes if groups is None else int(groups.max()) + 1
    sums = torch.zeros(3, num_sums, dtype=torch.float64, device=device)
    own = OwnSums()
    for start, measures in zip(range(0, len(targets), batch_size), batches, strict=True):
        batch = targets[start : start + batch_size].to(device)
        losses, hits = (value.to(device) for value in measures.values)
        counts = batch >= 0  # cross_entropy gives padding no loss, and it is never a hit
        values = torch.stack([counts.to(losses.dtype), losses, hits.to(losses.dtype)]).double()
        if groups is None:
            keys = batch.clamp(min=0)
        else:
            group = groups[start : start + batch_size].to(device)
            keys = group.view(-1, *[1] * (batch.dim() - 1)).expand_as(batch)
        sums.index_add_(1, keys.flatten(), values.flatten(1))
        own.add(measures.own)
    count, loss, correct = sums.cpu()
    return Evaluation(count, loss, correct, own.results())


@torch.no_grad()
def logits_of(
    model: nn.Module,
    inputs: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    predictor: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return float32 logits (samples, classes), in evaluation mode; parameters as for `evaluate`.

    A `predictor` may return other values, such as features.
    """
    device = next(model.parameters()).device
    predictor = predictor or model
    with evaluation_mode(model):
        parts = [predictor(normalizer(part.to(device))).float() for part in torch.split(inputs, batch_size)]
    return torch.cat(parts)


def tally(logits: Tensor, targets: Tensor) -> Evaluation:
    """Return the sums per class of logits (samples, classes) for targets (samples,).

    The loss is infinite for targets whose logit is minus infinity.
    """
    classes = logits.shape[1]
    losses = F.cross_entropy(logits, targets, reduction="none").double().cpu()
    hits = (logits.argmax(dim=1) == targets).double().cpu()
    labels = targets.cpu()
    return Evaluation(
        torch.bincount(labels, minlength=classes).double(),
        torch.bincount(labels, losses, minlength=classes),
        torch.bincount(labels, hits, minlength=classes),
    )
