"""Mini-batches of several clients at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from clients.hooks import Hooks
from clients.local.attacks import attack_of
from clients.local.batches import Batch
from clients.local.training_batches import iterate_samples, iterate_training_batches
from common.sections import LocalSection
from datasets.transforms import is_augmented

PADDING = -100  # the target that cross-entropy leaves out


@dataclass(frozen=True)
class Part:
    """Mini-batches of one step that have the same number of samples, or are padded to it.

    Attributes
    ----------
    rows : slice or Tensor
        The clients of the stack to which they belong.
    sizes : list of int
        Number of samples of each client.
    inputs, targets, labels, indices : Tensor
        As in `Batch`, with a dimension of clients before that of samples.
    is_padded : bool
        Whether there are padding samples, whose target and label are `PADDING`.
    """

    rows: slice | torch.Tensor
    sizes: list[int]
    inputs: torch.Tensor
    targets: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    is_padded: bool = False

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The stacked tensors for a hook, in the order of the parameters of `Batch`."""
        return self.inputs, self.targets, self.indices, self.labels


class StackedBatches:
    """The streams of mini-batches of clients, step by step.

    Parameters
    ----------
    clients : sequence of Hooks
        The clients, which have the data.
    budgets : sequence of LocalSection
        Each client's budget.
    pads : bool
        Whether to pad the mini-batches of a step to the largest; otherwise clients with equal sizes form
        parts.
    """

    def __init__(self, clients: Sequence[Hooks], budgets: Sequence[LocalSection], pads: bool) -> None:
        self._worker, self._pads = clients[0].worker, pads
        config = self._worker.config
        noise = config.dataset.label_noise > 0 or config.dataset.client_noise > 0
        attacked = any(attack_of(config, client.client_id) for client in clients)
        # Samples that are changed are made as each client makes them by itself.
        self._are_changed = noise or attacked or is_augmented(config.augmentation)
        self._streams: list[Iterator[Any]]
        if self._are_changed:
            pairs = zip(clients, budgets, strict=True)
            self._streams = [iterate_training_batches(client, "", local) for client, local in pairs]
        else:
            shuffles = Hooks.generators(clients, "shuffle")
            triples = zip(clients, budgets, shuffles, strict=True)
            self._streams = [
                iterate_samples(client, "", local, shuffle) for client, local, shuffle in triples
            ]

    def step(self, count: int) -> Iterator[Part]:
        """Yield the parts of the next step, of the first `count` clients."""
        made = [next(stream) for stream in self._streams[:count]]
        sizes = [len(batch) for batch in made]
        for rows in self._rows(sizes):
            chosen = range(count) if isinstance(rows, slice) else rows.tolist()
            part = self._stacked if self._are_changed else self._gathered
            yield part(rows, [sizes[row] for row in chosen], [made[row] for row in chosen])

    def _rows(self, sizes: list[int]) -> list[slice | torch.Tensor]:
        """Return the clients of each part."""
        if self._pads or len(set(sizes)) == 1:
            return [slice(0, len(sizes))]
        device = self._worker.device
        of_size: dict[int, list[int]] = {}
        for row, size in enumerate(sizes):
            of_size.setdefault(size, []).append(row)
        return [torch.tensor(rows, device=device) for rows in of_size.values()]

    def _gathered(self, rows: slice | torch.Tensor, sizes: list[int], samples: list[torch.Tensor]) -> Part:
        """Take the samples of all clients from the resident data at once."""
        worker, is_padded = self._worker, len(set(sizes)) > 1
        indices = _stack(samples, sizes, 0)
        flat = indices.flatten()
        inputs = worker.normalizer(worker.train.inputs.index_select(0, flat))
        targets = worker.train.targets[flat]
        inputs, targets = (values.view(*indices.shape, *values.shape[1:]) for values in (inputs, targets))
        if is_padded:
            targets = targets.masked_fill(_is_padding(sizes, targets), PADDING)
        return Part(rows, sizes, inputs, targets, targets, indices, is_padded)

    def _stacked(self, rows: slice | torch.Tensor, sizes: list[int], batches: list[Batch]) -> Part:
        """Stack batches that each client has made."""
        inputs, targets, labels, indices = (
            _stack([getattr(batch, name) for batch in batches], sizes, padding)
            for name, padding in (("inputs", 0), ("targets", PADDING), ("labels", PADDING), ("indices", 0))
        )
        return Part(rows, sizes, inputs, targets, labels, indices, len(set(sizes)) > 1)


def _stack(values: list[torch.Tensor], sizes: list[int], padding: int) -> torch.Tensor:
    if len(set(sizes)) == 1:
        return torch.stack(values)
    return pad_sequence(values, batch_first=True, padding_value=padding)


def _is_padding(sizes: list[int], targets: torch.Tensor) -> torch.Tensor:
    """Return where targets (clients, samples, ...) are beyond a client's samples."""
    places = torch.arange(targets.shape[1], device=targets.device)
    beyond = places >= torch.tensor(sizes, device=targets.device)[:, None]
    return beyond.view(*beyond.shape, *(1,) * (targets.dim() - 2))
