"""User-defined metrics: functions of a batch's outputs and targets, summed over batches and clients."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from common.errors import UserError
from common.plugin_kinds import METRIC
from common.plugins import find_function
from common.reading import comma_list

Metric = Callable[[Tensor, Tensor], "Tensor | tuple[float | Tensor, float | Tensor]"]

Own = Mapping[str, tuple[float, float]]  # name → mean and count
BatchSums = Mapping[str, tuple[float, float]]  # name → sum and count over a batch
# Prefix of a mean's weight in a client's reply, relative to the means of other clients.
COUNT_OF = "count-of-"

_NAME = re.compile("[a-z][a-z0-9_]*")
# Columns that exist already.
_TAKEN = frozenset({"loss", "accuracy", "mse", "mae", "r2", "macro_f1", "weighted_f1"})


def find_metrics(text: str) -> dict[str, Metric]:
    """Return the metrics that the key ``metrics`` lists, by the name of their column.

    Parameters
    ----------
    text : str
        Names, or ``package.module:function``, separated by commas.

    Raises
    ------
    UserError
        If there is no such metric, or two have the same name.
    """
    found: dict[str, Metric] = {}
    for part in comma_list("metrics", text):
        metric = find_function(METRIC, part)
        name = part.rpartition(":")[2].rpartition(".")[2].replace("-", "_").lower()
        if not _NAME.fullmatch(name) or name in _TAKEN or name.endswith(("_loss", "_accuracy")):
            raise UserError(
                f"metrics: '{name}' cannot be the name of a column: give the function another name"
            )
        if name in found:
            raise UserError(f"metrics: there are two called '{name}'")
        found[name] = metric
    return found


def means(own: Own, prefix: str) -> dict[str, float]:
    """Return the means; names begin with `prefix`."""
    return {f"{prefix}{name}": mean for name, (mean, _) in own.items()}


def counted_means(own: Own, prefix: str) -> dict[str, float]:
    """Return means and their counts, as a client reports them; names begin with `prefix`."""
    counts = {f"{COUNT_OF}{prefix}{name}": count for name, (_, count) in own.items()}
    return {**means(own, prefix), **counts}


def own_of(outputs: Tensor, targets: Tensor, metrics: Mapping[str, Metric]) -> Own:
    """Return the metrics of a complete set of outputs."""
    sums = OwnSums()
    sums.add(batch_sums(outputs, targets, metrics))
    return sums.results()


def batch_sums(outputs: Tensor, targets: Tensor, metrics: Mapping[str, Metric]) -> BatchSums:
    """Return the metrics of a batch.

    Parameters
    ----------
    metrics : mapping
        Name → function of outputs (samples, ...) and targets, which returns a value for each sample, or a
        sum and a count.

    Raises
    ------
    UserError
        If a metric fails, or returns something else.
    """
    sums: dict[str, tuple[float, float]] = {}
    for name, metric in metrics.items():
        try:
            value = metric(outputs, targets)
        except Exception as error:  # whatever the user's code raises
            text = " ".join(str(error).split())
            raise UserError(f"metrics: '{name}' failed: {type(error).__name__}: {text}") from error
        sums[name] = _sum_and_count(name, value, len(targets))
    return sums


class OwnSums:
    """Running sums of metrics over batches."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(self, batch: BatchSums) -> None:
        """Add the result of ``batch_sums`` for a batch."""
        for name, (total, count) in batch.items():
            self._sums[name][0] += total
            self._sums[name][1] += count

    def results(self) -> "Own":
        """Return mean and count of each metric whose count is not 0."""
        return {name: (total / count, count) for name, (total, count) in self._sums.items() if count}


def _sum_and_count(name: str, value: object, num_samples: int) -> tuple[float, float]:
    if isinstance(value, Tensor) and value.ndim == 1 and len(value) == num_samples:
        total, count = float(value.double().sum()), float(num_samples)
    elif isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value)):
        total, count = float(value[0]), float(value[1])
    else:
        shape = (
            f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        )
        raise UserError(
            f"metrics: '{name}' must return a tensor with a value for each of {num_samples} samples, or (sum,"
            f" count), not {shape}"
        )
    if not count >= 0 or not torch.isfinite(torch.tensor(count)):
        raise UserError(f"metrics: '{name}' counted {count}: a count is at least 0")
    return total, count


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
