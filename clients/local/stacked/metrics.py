"""Metrics of stacked training: loss, correct predictions and clipping of each client."""

import math
from collections.abc import Iterable, Sequence

import torch

from clients.hooks import Hooks
from clients.local.metrics import COUNTS, EXPECTED, HITS, SQUARES, means_of_sums, precise, squared_losses
from clients.local.stacked.batches import Part
from datasets.noise.label_noise import expected_loss


class StackedMetrics:
    """Metrics over the steps of a round for each client of a stack: `TrainingMetrics`, and the mean loss.

    Parameters
    ----------
    num_clients : int
        Rows of the stack.
    label_noise : float
        ``dataset.label-noise``.
    num_classes : int
        Number of labels.
    device : torch.device
        That of losses and logits.
    squares : bool
        As of `TrainingMetrics`.
    """

    def __init__(
        self,
        num_clients: int,
        label_noise: float,
        num_classes: int,
        device: torch.device,
        squares: bool,
    ) -> None:
        self._num_clients, self._device = num_clients, device
        self._label_noise, self._num_classes = label_noise, num_classes
        self._measures_squares = squares
        self._rows: list[slice | torch.Tensor] = []  # of each part of each step
        self._sizes: list[list[int]] = []
        self._losses: list[torch.Tensor] = []
        self._of_logits: list[tuple[slice | torch.Tensor, dict[str, torch.Tensor]]] = []
        self._clipped: list[torch.Tensor] = []

    @torch.no_grad()
    def add(self, part: Part, losses: torch.Tensor, logits: torch.Tensor | None) -> None:
        """Add a step of some clients."""
        self._rows.append(part.rows)
        self._sizes.append(part.sizes)
        self._losses.append(losses.detach())
        labels = part.labels
        if logits is None or labels.is_floating_point():
            return
        known = labels >= 0
        sums = {
            HITS: (logits.argmax(dim=2) == labels).flatten(1).sum(1),
            COUNTS: known.flatten(1).sum(1),
        }
        if self._measures_squares:
            squares = squared_losses(logits.flatten(0, 1), labels.flatten(0, 1)).double()
            sums[SQUARES] = squares.view(len(labels), -1).sum(1)
        if self._label_noise > 0:
            expected = expected_loss(
                precise(logits.flatten(0, 1)),
                labels.flatten(0, 1).clamp(min=0),
                self._label_noise,
                self._num_classes,
            )
            sums[EXPECTED] = (expected * known.flatten(0, 1)).view(len(labels), -1).sum(1)
        self._of_logits.append((part.rows, sums))

    def add_clipping(self, is_clipped: torch.Tensor) -> None:
        """Record which of the first clients had a clipped gradient in a step."""
        self._clipped.append(is_clipped)

    def hand_out(self, clients: Sequence[Hooks], steps: Sequence[int]) -> list[float]:
        """Hand each client its metrics; return their mean losses."""
        sizes = self._by_client(
            (rows if isinstance(rows, slice) else rows.cpu(), torch.tensor(sizes))
            for rows, sizes in zip(self._rows, self._sizes, strict=True)
        ).to(self._device)
        losses = self._by_client(zip(self._rows, self._losses, strict=True)).double()
        is_finite = losses.isfinite().cumprod(0) * (sizes > 0)
        samples, finite = sizes.sum(0), is_finite.sum(0).tolist()
        means: list[float] = ((losses * sizes).sum(0) / samples).tolist()
        num_samples = samples.tolist()
        sums = {
            name: self._by_client((rows, of_part[name]) for rows, of_part in self._of_logits).sum(0).tolist()
            for name in (self._of_logits[0][1] if self._of_logits else ())
        }
        if self._clipped:
            firsts = ((slice(0, len(clipped)), clipped) for clipped in self._clipped)
            num_clipped = self._by_client(firsts).sum(0).tolist()
        for row, client in enumerate(clients):
            client.num_samples = num_samples[row]
            if not math.isfinite(means[row]):
                client.finite_steps = finite[row]
            of_client = {name: of_all[row] for name, of_all in sums.items()}
            client.training_metrics = means_of_sums(of_client, self._label_noise, self._num_classes)
            if self._clipped:
                client.training_metrics["train_clipped_fraction"] = num_clipped[row] / steps[row]
        return means

    def _by_client(self, values: Iterable[tuple[slice | torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return values of rows as one tensor of shape (parts of steps, clients), 0 for other rows."""
        return torch.stack([self._whole(rows, value) for rows, value in values])

    def _whole(self, rows: slice | torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if len(value) == self._num_clients and isinstance(rows, slice):
            return value
        whole = value.new_zeros(self._num_clients)
        whole[rows] = value
        return whole
