"""Mini-batches of an exact local budget: which samples each of them has."""

from collections.abc import Iterator

import torch

from common.budget import num_steps
from common.sections import LocalSection


class Batch:
    """One mini-batch on the device: normalised inputs, integer targets, and the samples' indices.

    ``labels`` are the true ones where the targets are noisy, otherwise the same.
    """

    __slots__ = ("indices", "inputs", "labels", "targets")

    def __init__(
        self,
        inputs: torch.Tensor,
        targets: torch.Tensor,
        indices: torch.Tensor,
        labels: torch.Tensor | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.labels = targets if labels is None else labels
        self.indices = indices

    def __len__(self) -> int:
        return len(self.targets)


def iterate_batches(
    indices: torch.Tensor, local: LocalSection, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield the sample indices of each mini-batch of a round.

    The client iterates over its shuffled data and reshuffles when they are exhausted. The last, smaller
    batch of a pass is kept, so that an epoch uses every sample exactly once, unless ``drop-last`` or
    ``single-sample-batches`` leave it out; a client with fewer samples than a batch uses all of them in each
    step.

    Parameters
    ----------
    indices : Tensor
        The client's samples, int64 of shape (num_examples,).
    local : LocalSection
        ``batch-size`` and exactly one of ``epochs`` and ``steps``.
    generator : torch.Generator
        The job's generator for the purpose ``shuffle``; on the CPU.
    """
    num_examples = indices.numel()
    remaining = num_steps(local, num_examples)
    per_pass = local.steps_per_pass(num_examples)
    while remaining:
        shuffled = torch.randperm(num_examples, generator=generator).to(indices.device)
        order = indices.index_select(0, shuffled)
        for start in range(0, min(per_pass, remaining) * local.batch_size, local.batch_size):
            yield order[start : start + local.batch_size]
            remaining -= 1
