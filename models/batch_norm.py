"""BatchNorm's running statistics."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from common.global_generators import seeded_globally
from models.outside import own_generators
from models.sizes.early_exits import MultiExit

_BatchNorm = nn.modules.batchnorm._BatchNorm


def is_batch_norm(module: nn.Module) -> bool:
    """Return whether `module` is a BatchNorm layer of any kind."""
    return isinstance(module, _BatchNorm)


def batch_norm_layers(model: nn.Module) -> list[nn.Module]:
    """Return the BatchNorm layers of `model`."""
    return [module for module in model.modules() if is_batch_norm(module)]


def allow_batch_statistics(layers: Iterable[nn.Module], num_samples: int) -> None:
    """Let layers use the statistics of a training batch, or the running ones for that of a single sample."""
    for layer in layers:
        layer.train(num_samples > 1)


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    inputs: Tensor,
    normalizer: Callable[[Tensor], Tensor],
    batch_size: int,
    device: torch.device,
    max_batches: int = 50,
) -> None:
    """Re-estimate the running means and variances as plain averages over mini-batches of `inputs`.

    The mean is the average of the batches' means, the variance the average of their unbiased variances: the
    spread of the means is ignored (Gu et al. 2023, code). At most `max_batches` batches are used, spread
    evenly over the inputs; layers of early exits are included. The weights, the layers' momenta and the
    training flag of `model` do not change, and the old statistics have no influence. Dropout is active as in
    training, with the same masks in every estimation.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    was_training = model.training
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    model.train()
    run = model.outputs if isinstance(model, MultiExit) else model
    num_batches = min(max_batches, -(-len(inputs) // batch_size))
    try:
        with seeded_globally(0, device, own_generators(model)):
            for batch in range(num_batches):
                run(normalizer(inputs[batch::num_batches][:batch_size].to(device)))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(was_training)
