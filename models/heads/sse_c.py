"""Fixed classifier heads: the dense equiangular tight frame, and SSE-C, its sparse variant.

SSE-C (Xiao et al., FedLoGe, ICLR 2024) is a dense frame in which a random share of the entries is set to
zero, and whose rows are then made equiangular and of equal norm again under that mask. Heads have the layout
of a linear layer, one row per class: (classes, features).
"""

import math
from typing import Literal

import torch
from torch import Tensor

from common.errors import UserError

# Cosines are clamped here, beyond which the derivative of arccos grows without bound.
LARGEST_COSINE = 0.99999

HeadKind = Literal[
    "sse-c", "dense-etf", "weight-dropout-etf", "feature-dropout-etf", "sparse-random", "dense-random",
    "learnable",
]  # fmt: skip
DROPOUTS = ("weight-dropout-etf", "feature-dropout-etf")
DENSE_FRAMES = ("dense-etf", *DROPOUTS)
_BETAS, _EPSILON = (0.9, 0.999), 1e-8


def dense_etf(num_classes: int, num_features: int, generator: torch.Generator) -> Tensor:
    """Return a random simplex equiangular tight frame (FedLoGe, section on SSE-C, from Papyan et al. 2020).

    Returns
    -------
    Tensor
        float64, (num_classes, num_features): rows of norm 1, cosine -1 / (num_classes - 1) between any two.

    Raises
    ------
    UserError
        If there are less features than classes, or a single class.
    """
    check_frame(num_classes, num_features)
    uniform = torch.rand(num_features, num_classes, dtype=torch.float64, generator=generator)
    return frame(torch.linalg.qr(uniform).Q)


def check_frame(num_classes: int, num_features: int) -> None:
    """Refuse a head for which there is no equiangular tight frame.

    Raises
    ------
    UserError
        If there are less features than classes, or a single class.
    """
    if num_features < num_classes or num_classes < 2:
        raise UserError(
            f"an equiangular tight frame needs at least 2 classes and as many features as classes: the head"
            f" has {num_features} features for {num_classes} classes; use a wider model, or model.projection"
        )


def frame(basis: Tensor) -> Tensor:
    """Return sqrt(C / (C - 1)) (I - 11' / C) Q' of an orthonormal basis Q, (features, classes)."""
    num_classes = basis.shape[1]
    centring = torch.eye(num_classes, dtype=basis.dtype) - 1 / num_classes
    return math.sqrt(num_classes / (num_classes - 1)) * centring @ basis.T


def random_mask(num_classes: int, num_features: int, sparsity: float, generator: torch.Generator) -> Tensor:
    """Return a mask with exactly trunc(sparsity * features * classes) zeros at uniformly random places.

    Returns
    -------
    Tensor
        float64 of zeros and ones, (num_classes, num_features).
    """
    size = num_classes * num_features
    mask = torch.ones(size, dtype=torch.float64)
    mask[torch.randperm(size, generator=generator)[: int(sparsity * num_features * num_classes)]] = 0
    return mask.view(num_features, num_classes).T.contiguous()


def sse_c_loss(head: Tensor, norm: float) -> tuple[Tensor, Tensor]:
    """Return SSE-C's objective and its gradient (FedLoGe, Eq. 4).

    sum_c (||w_c|| - norm)^2 - mean_c arccos(max_{j != c} cos(w_c, w_j)), the cosine clamped to
    +-0.99999. The gradient of the maximum goes through the nearest neighbour, to both vectors.

    Parameters
    ----------
    head : Tensor
        (classes, features), no row zero.
    norm : float
        Target norm of the rows.

    Returns
    -------
    tuple[Tensor, Tensor]
        The scalar, and the gradient in the shape of `head`, which the caller masks.
    """
    num_classes = len(head)
    norms = head.norm(dim=1, keepdim=True)
    units = head / norms
    cosines = units @ units.T
    cosines.fill_diagonal_(-2)
    largest, neighbour = cosines.max(dim=1)
    clamped = largest.clamp(-LARGEST_COSINE, LARGEST_COSINE)
    loss = ((norms - norm) ** 2).sum() - clamped.arccos().mean()
    slopes = (1 - clamped**2).rsqrt() / num_classes * (largest == clamped)
    slopes, cosine = slopes[:, None], largest[:, None]
    # d cos(a, b) / d a = (b/|b| - cos a/|a|) / |a|, for the class and for its neighbour.
    pull = slopes * (units[neighbour] - cosine * units)
    pull.index_add_(0, neighbour, slopes * (units - cosine * units[neighbour]))
    return loss, 2 * (norms - norm) * units + pull / norms


def equiangularise(
    head: Tensor, mask: Tensor, norm: float, *, steps: int = 10_000, learning_rate: float = 1e-4
) -> Tensor:
    """Make the rows of a masked head equiangular and of equal norm, as far as the mask allows.

    Adam (Kingma and Ba 2015, default betas) on the masked gradient of ``sse_c_loss``, which leaves zeros
    exactly zero.

    Parameters
    ----------
    head, mask : Tensor
        (classes, features).
    norm : float
        Wanted norm of the rows.
    steps : int
        Number of steps; with the defaults, 3,000 come within 0.01 degrees of convergence.
    learning_rate : float
        Learning rate of Adam.

    Returns
    -------
    Tensor
        The head, in the dtype of `head`.
    """
    head = head * mask
    mean, square = torch.zeros_like(head), torch.zeros_like(head)
    for step in range(1, steps + 1):
        _, gradient = sse_c_loss(head, norm)
        gradient.mul_(mask)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        scale = math.sqrt(1 - _BETAS[1] ** step)
        head.addcdiv_(
            mean, square.sqrt().div_(scale).add_(_EPSILON), value=-learning_rate / (1 - _BETAS[0] ** step)
        )
    return head


def make_sse_c(
    num_classes: int,
    num_features: int,
    generator: torch.Generator,
    *,
    sparsity: float = 0.6,
    norm: float = 0.1,
    steps: int = 10_000,
    learning_rate: float = 1e-4,
) -> Tensor:
    """Make an SSE-C head: dense frame, mask, equiangular rows under the mask.

    Returns
    -------
    Tensor
        float32, (num_classes, num_features), with exactly trunc(sparsity * features * classes) zeros.

    Raises
    ------
    UserError
        If there are less features than classes, or the mask leaves a class without any entry.
    """
    dense = dense_etf(num_classes, num_features, generator)
    mask = random_mask(num_classes, num_features, sparsity, generator)
    if not bool(mask.any(dim=1).all()):
        raise UserError(
            f"a sparsity of {sparsity:g} leaves no weight to a class of a head with {num_features} features:"
            " lower it"
        )
    return equiangularise(dense.float(), mask.float(), norm, steps=steps, learning_rate=learning_rate)


def angles(head: Tensor) -> Tensor:
    """Return the angles between all pairs of rows in degrees, float64, (pairs,)."""
    units = torch.nn.functional.normalize(head.double(), dim=1)
    rows, columns = torch.triu_indices(len(head), len(head), offset=1)
    return (units @ units.T)[rows, columns].clamp(-1, 1).arccos().rad2deg()
