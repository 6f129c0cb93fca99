import pytest
import torch
from torch import nn

from models.batch_norm import recalibrate

# One channel; the pooled variance of the first three would be 9.515.
WORKERS = {
    "first": ([[1, 3, 5, 7], [2, 2, 4, 8], [-3, 0, 3, 0]], 8 / 3, 6.888889),
    "second": ([[10, 12, 10, 12], [0, 4, 0, 4]], 6.5, 3.333333),
}


def estimated(batches: list[list[int]]) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(1)
    layer.running_mean.fill_(100.0)  # type: ignore[union-attr]
    # Batch b is every len(batches)-th image, from the b-th on.
    inputs = torch.tensor(batches, dtype=torch.float32).T.reshape(-1, 1)
    recalibrate(layer, inputs, lambda x: x, 4, torch.device("cpu"), max_batches=len(batches))
    return layer


@pytest.mark.parametrize("worker", WORKERS)
def test_statistics_are_means_over_batches(worker: str) -> None:
    batches, mean, variance = WORKERS[worker]
    layer = estimated(batches)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.running_mean.item() == pytest.approx(mean, rel=1e-6)
    assert layer.running_var.item() == pytest.approx(variance, rel=1e-6)
    assert layer.momentum == 0.1
