"""What stacked training measures: loss, hits and clipping of each client."""

import math
from collections.abc import Sequence

import torch

from clients.hooks import Hooks
from clients.local.metrics import precise, squared_losses
from clients.local.stacked.batches import Part
from datasets.noise.label_noise import expected_loss, expected_loss_floor


class StackedMetrics:
    """Sums over the steps of a round for each client of a stack; as `TrainingMetrics`, and the mean loss.

    Parameters
    ----------
    num_clients : int
        Rows of the stack.
    label_noise : float
        ``dataset.label-noise``.
    num_classes : int
        Number of labels.
    device : torch.device
        Where the sums are kept.
    squares : bool
        As of `TrainingMetrics`.
    """

    def __init__(
        self,
        num_clients: int,
        label_noise: float,
        num_classes: int,
        device: torch.device,
        squares: bool = False,
    ) -> None:
        self._label_noise, self._num_classes = label_noise, num_classes
        zeros = torch.zeros(num_clients, dtype=torch.float64, device=device)
        self._loss, self._expected, self._clipped = zeros.clone(), zeros.clone(), zeros.clone()
        self._measures_squares, self._squares = squares, zeros.clone()
        self._finite = torch.zeros(num_clients, dtype=torch.int64, device=device)
        self._is_finite = torch.ones(num_clients, dtype=torch.bool, device=device)
        self._hits, self._counts = torch.zeros_like(self._finite), torch.zeros_like(self._finite)
        self._samples = torch.zeros(num_clients, dtype=torch.int64)
        self._steps = [0] * num_clients
        self._clips = False

    @torch.no_grad()
    def add(self, part: Part, losses: torch.Tensor, logits: torch.Tensor | None) -> None:
        """Take in a step of some clients."""
        rows, sizes = part.rows, torch.tensor(part.sizes)
        of_rows = rows if isinstance(rows, slice) else rows.cpu()
        self._samples[of_rows] += sizes
        losses = losses.detach().double()
        self._loss[rows] += losses * sizes.to(losses.device)
        self._is_finite[rows] &= losses.isfinite()
        self._finite[rows] += self._is_finite[rows]
        labels = part.labels
        if logits is None or labels.is_floating_point():
            return
        self._hits[rows] += (logits.argmax(dim=2) == labels).flatten(1).sum(1)
        self._counts[rows] += (labels >= 0).flatten(1).sum(1)
        if self._measures_squares:
            squares = squared_losses(logits.flatten(0, 1), labels.flatten(0, 1)).double()
            self._squares[rows] += squares.view(len(labels), -1).sum(1)
        if self._label_noise > 0:
            known = (labels >= 0).flatten(0, 1)
            expected = expected_loss(
                precise(logits.flatten(0, 1)),
                labels.flatten(0, 1).clamp(min=0),
                self._label_noise,
                self._num_classes,
            )
            self._expected[rows] += (expected * known).view(len(labels), -1).sum(1)

    def add_clipping(self, is_clipped: torch.Tensor) -> None:
        """Take note whose gradient was clipped in a step: of the first clients."""
        self._clips = True
        self._clipped[: len(is_clipped)] += is_clipped

    def hand_out(self, clients: Sequence[Hooks], steps: Sequence[int]) -> list[float]:
        """Give clients what was measured of them; return their mean losses."""
        samples, means = self._samples.tolist(), (self._loss.cpu() / self._samples).tolist()
        finite, hits, counts = self._finite.tolist(), self._hits.tolist(), self._counts.tolist()
        expected, clipped = self._expected.tolist(), self._clipped.tolist()
        squares = self._squares.tolist()
        for row, client in enumerate(clients):
            client.num_samples = samples[row]
            if not math.isfinite(means[row]):
                client.finite_steps = finite[row]
            results: dict[str, float] = {}
            if counts[row]:
                results["train_accuracy"] = hits[row] / counts[row]
                if self._measures_squares:
                    results["train_squared_loss"] = squares[row] / counts[row]
                if self._label_noise > 0:
                    floor = expected_loss_floor(self._label_noise, self._num_classes)
                    results["train_expected_loss"] = expected[row] / counts[row]
                    results["train_excess_loss"] = expected[row] / counts[row] - floor
            if self._clips:
                results["train_clipped_fraction"] = clipped[row] / steps[row]
            client.training_metrics = results
        return means
