"""Re-estimation of BatchNorm: O-10 and metamorphic property 12 of the Local SGD specification."""

import pytest
import torch
from torch import nn

from models.batch_norm import recalibrate

WORKER_1 = [[1.0, 3, 5, 7], [2, 2, 4, 8], [-3, 0, 3, 0]]


WORKER_2 = [[10.0, 12, 10, 12], [0, 4, 0, 4]]


def estimate(batches: list[list[float]], norm: nn.BatchNorm1d | None = None) -> tuple[float, float]:
    """Recalibrate on inputs laid out so that the mini-batches are the given ones."""
    norm = norm or nn.BatchNorm1d(1).double()
    inputs = torch.tensor(batches).double().T.reshape(-1, 1)
    recalibrate(norm, inputs, lambda x: x, len(batches[0]), torch.device("cpu"), len(batches))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean.item(), norm.running_var.item()


def test_plain_averages_of_means_and_unbiased_variances() -> None:
    first, second = estimate(WORKER_1), estimate(WORKER_2)
    assert first == pytest.approx((8 / 3, 6.888889), abs=1e-6)
    assert second == pytest.approx((6.5, 3.333333), abs=1e-6)
    both = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
    assert both == pytest.approx([4.583333, 5.111111], abs=1e-6)


def test_twice_is_once_whatever_the_statistics_were() -> None:
    norm = nn.BatchNorm1d(1).double()
    norm.running_mean = torch.tensor([1e6]).double()
    norm.running_var = torch.tensor([1e-6]).double()
    once = estimate(WORKER_1, norm)
    assert once == estimate(WORKER_1)
    assert estimate(WORKER_1, norm) == once
    assert norm.momentum == 0.1


def test_so_many_batches_and_no_more() -> None:
    norm, sizes = nn.BatchNorm1d(1), []

    def count(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch

    recalibrate(norm, torch.randn(100, 1), count, 8, torch.device("cpu"), max_batches=3)
    assert sizes == [8, 8, 8]


def test_o23_static_batch_norm_weighs_batches_equally() -> None:
    norm = nn.BatchNorm1d(1, momentum=None).double()
    for batch in ([1.0, 3.0], [2.0, 4.0, 9.0, 9.0]):
        norm(torch.tensor(batch).double()[:, None])
    assert norm.running_mean.item() == pytest.approx(4.0)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx(7.3333333, abs=1e-7)  # type: ignore[union-attr]
    # The same estimate over batches {1, 3, 9} and {2, 4} of one tensor.
    inputs = torch.tensor([1.0, 2, 3, 4, 9]).double()[:, None]
    recalibrate(norm, inputs, lambda x: x, 3, torch.device("cpu"))
    assert norm.running_mean.item() == pytest.approx((13 / 3 + 3) / 2)  # type: ignore[union-attr]
    assert norm.running_var.item() == pytest.approx((52 / 3 + 2) / 2)  # type: ignore[union-attr]
