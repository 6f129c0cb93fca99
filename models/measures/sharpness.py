"""Sharpness of the training loss at a model: the trace of the Hessian."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.measures.evaluation import evaluation_mode


def hessian_trace(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    batch_size: int,
    num_probes: int,
    generator: torch.Generator,
) -> float:
    """Estimate the trace of the Hessian of the mean cross-entropy, in evaluation mode (Hutchinson 1990).

    tr H = E[v' H v] for vectors v of independent random signs; returns the mean over `num_probes` vectors.

    Parameters
    ----------
    model : nn.Module
        Classifier that returns logits.
    inputs, targets : Tensor
        Normalised samples on the model's device, and their labels.
    batch_size : int
        Samples at a time; the result does not depend on it.
    num_probes : int
        Number of vectors.
    generator : torch.Generator
        Draws the signs, on the CPU.
    """
    params = [param for param in model.parameters() if param.requires_grad]
    probes = [[_signs(param, generator) for param in params] for _ in range(num_probes)]
    total = 0.0
    with evaluation_mode(model), torch.enable_grad():
        for start in range(0, len(targets), batch_size):
            batch = targets[start : start + batch_size]
            loss = F.cross_entropy(model(inputs[start : start + batch_size]), batch) * (
                len(batch) / len(targets)
            )
            grads = torch.autograd.grad(loss, params, create_graph=True)
            for probe in probes:
                slope = sum((g * v).sum() for g, v in zip(grads, probe, strict=True))
                assert isinstance(slope, Tensor)
                products = torch.autograd.grad(slope, params, retain_graph=True)
                total += sum(float((p * v).sum()) for p, v in zip(products, probe, strict=True))
    return total / num_probes


def _signs(param: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, param.shape, generator=generator) * 2 - 1
    return signs.to(param.device, param.dtype)
