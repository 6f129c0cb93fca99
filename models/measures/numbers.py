"""Errors of a regression model."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.measures.evaluation import BatchMeasures, evaluation_mode, predicted_batches
from models.measures.own import Metric, Own, OwnSums, batch_sums


@dataclass(frozen=True)
class NumberSums:
    """Sums over samples, per group of samples.

    Attributes
    ----------
    count, squared, absolute : Tensor
        float64, shape (groups,): number of predicted values, sums of their squared and absolute errors.
    spread : Tensor
        float64, shape (groups,): sums of the squared distances of targets from their mean in the group.
    own : dict
        The run's own metrics, over all samples.
    """

    count: Tensor
    squared: Tensor
    absolute: Tensor
    spread: Tensor
    own: Own

    def results(self, group: int = 0) -> dict[str, float]:
        """Return ``loss`` and ``mse``, both the mean squared error; ``mae``; and ``r2``.

        The coefficient of determination ``r2`` is left out if all targets are equal.
        """
        count, squared = float(self.count[group]), float(self.squared[group])
        mse, spread = squared / count, float(self.spread[group])
        results = {"loss": mse, "mse": mse, "mae": float(self.absolute[group]) / count}
        if spread > 0:
            results["r2"] = 1 - squared / spread
        return results


@torch.no_grad()
def evaluate_numbers(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    groups: Tensor | None = None,
    predictor: Callable[[Tensor], Tensor] | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> NumberSums:
    """Evaluate `model` on one split, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        Returns one output per number of a target.
    inputs, targets : Tensor
        The split; targets are float32, (samples,) or (samples, numbers).
    normalizer, predictor
        As in ``models.measures.evaluation.evaluate``.
    groups : Tensor, optional
        int64, shape (samples,): sum per group.
    metrics : mapping, optional
        The run's own metrics.
    """
    device = next(model.parameters()).device
    with evaluation_mode(model):
        batches = number_measures(
            predictor or model, inputs, targets, normalizer, batch_size, device, metrics or {}
        )
        return number_sums(batches, targets, groups)


def number_measures(
    predictor: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
    metrics: Mapping[str, Metric],
) -> Iterator[BatchMeasures]:
    """Yield the errors, in the shape of the targets, batch by batch; parameters as for `evaluate_numbers`."""
    for outputs, batch in predicted_batches(predictor, inputs, targets, normalizer, batch_size, device):
        yield BatchMeasures((outputs.reshape(batch.shape) - batch,), batch_sums(outputs, batch, metrics))


def number_sums(
    batches: Iterable[BatchMeasures], targets: Tensor, groups: Tensor | None = None
) -> NumberSums:
    """Add up what ``number_measures`` yielded for a split, in order; parameters as for `evaluate_numbers`."""
    groups = torch.zeros(len(targets), dtype=torch.int64) if groups is None else groups.cpu()
    errors: list[Tensor] = []
    own = OwnSums()
    for measures in batches:
        errors.append(measures.values[0].double().cpu())
        own.add(measures.own)
    error = torch.cat(errors).reshape(len(targets), -1)
    values = targets.double().cpu().reshape(len(targets), -1)
    size = int(groups.max()) + 1

    def summed(rows: Tensor) -> Tensor:
        return torch.zeros(size, rows.shape[1], dtype=torch.float64).index_add_(0, groups, rows)

    samples = summed(torch.ones(len(targets), 1, dtype=torch.float64))
    means = summed(values) / samples.clamp(min=1)
    distances = summed((values - means[groups]).square()).sum(dim=1)
    width = math.prod(values.shape[1:])
    return NumberSums(
        samples[:, 0] * width,
        summed(error.square()).sum(1),
        summed(error.abs()).sum(1),
        distances,
        own.results(),
    )
