"""InCo Aggregation: deeper layers of a stage use the update of its shallowest one, on the server alone.

Chan, Zhou, Zhao, Jiang, Ngai, "Internal Cross-layer Gradients for Extending Homogeneity to Heterogeneity in
Federated Learning", ICLR 2024: theorem 3.1, Algorithm 1, appendix C. The defaults are those of the released
code, which differ from the text in the sign of theta, work on single kernels, and bound theta and the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from common.records import Tensors

SignRule = Literal["abs", "paper-signed", "theorem"]
Granularity = Literal["kernel", "layer"]
Term = Literal["gradient", "noise"]
Diagnostics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class InCoOptions:
    """How a target's update g_k and its reference's update g_0 are combined.

    Attributes
    ----------
    sign_rule : {"abs", "paper-signed", "theorem"}
        Factor of g_0, with theta = |<g_0, g_k>| / (<g_0, g_0> + epsilon): always theta (released code);
        -theta where the inner product is positive (Algorithm 1, line 9); 0 there (equation 2).
    granularity : {"kernel", "layer"}
        Whether inner products and norms are of each two-dimensional kernel of a convolution, or of whole
        tensors. Vectors are always whole.
    normalise : bool
        (g_k / n_k + theta g_0 / n_0) (n_k + n_0) / 2 if true, g_k + theta g_0 otherwise ("w/o N").
    optimise : bool
        Theta = 1 if false ("w/o O").
    term : {"gradient", "noise"}
        What is added to g_k's part: that of g_0, or Gaussian noise that is as long ("add noise", appendix
        H.6 and figure 20, which does not state its length).
    theta_max : float
        Largest theta; 0: no bound.
    clip : float
        Largest absolute value of an entry of the result; 0: no bound.
    epsilon : float
        Added to norms and to <g_0, g_0>.
    """

    sign_rule: SignRule = "abs"
    granularity: Granularity = "kernel"
    normalise: bool = True
    optimise: bool = True
    theta_max: float = 5.0
    clip: float = 0.1
    epsilon: float = 1e-7
    term: Term = "gradient"


class InCoResult(NamedTuple):
    """Updates after InCo, and diagnostics for each target (see :func:`combine`)."""

    updates: Tensors
    diagnostics: Diagnostics


def apply_inco(
    updates: Mapping[str, Tensor],
    targets: Mapping[str, str],
    options: InCoOptions | None = None,
    held: Mapping[str, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> InCoResult:
    """Replace the updates of the targets; nothing is modified in place, and references are the original ones.

    Parameters
    ----------
    updates : mapping of str to Tensor
        The aggregated updates of one round, in float64: the server adds them to its model.
    targets : mapping of str to str
        Target → reference (``inco_targets``). If either of a pair has no update, since no client of the
        round held it, the target's stays as it is.
    options : InCoOptions, optional
    held : mapping of str to Tensor, optional
        For targets that clients hold only in part: masks of the target's shape, not 0 where at least one
        client held the element. Elsewhere the update stays as it is.
    generator : torch.Generator, optional
        The source of the noise, if that is the term.

    Returns
    -------
    InCoResult
        All updates (those of non-targets are the same tensors), and diagnostics per replaced target.

    Raises
    ------
    ValueError
        If a target's shape is not that of its reference, or a mask's not that of its target.
    """
    options = options or InCoOptions()
    replaced: Tensors = {}
    diagnostics: Diagnostics = {}
    for name, reference in targets.items():
        if name not in updates or reference not in updates:
            continue
        update, shallow = updates[name], updates[reference]
        if update.shape != shallow.shape:
            raise ValueError(
                f"InCo: '{name}' has shape {tuple(update.shape)}, its reference '{reference}' has"
                f" {tuple(shallow.shape)}"
            )
        mask = None if held is None or name not in held else held[name] != 0
        if mask is not None and mask.shape != update.shape:
            raise ValueError(
                f"InCo: the mask of '{name}' has shape {tuple(mask.shape)}, not {tuple(update.shape)}"
            )
        replaced[name], diagnostics[name] = combine(update, shallow, options, mask, generator)
    return InCoResult({**updates, **replaced}, diagnostics)


def combine(
    update: Tensor,
    reference: Tensor,
    options: InCoOptions,
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Return the update of one target after InCo, and its diagnostics.

    Parameters
    ----------
    update, reference : Tensor
        g_k and g_0, of one shape: convolution weights (outputs, inputs, height, width) or vectors.
    options : InCoOptions
    mask : Tensor, optional
        Where the result counts; elsewhere it is `update`.
    generator : torch.Generator, optional
        As in :func:`apply_inco`.

    Returns
    -------
    result : Tensor
        Of the same shape.
    diagnostics : dict[str, float]
        Means over kernels (one for a vector): ``theta``; ``beta_positive`` and ``capped``, the shares with a
        positive inner product and with theta at its bound. ``clipped``, the share of clipped entries. Of
        the whole tensors: ``layer_beta`` = <g_0, g_k>, ``layer_theta``, ``norm`` and ``reference_norm`` of
        both updates, and ``term_norm`` of what is added to g_k's part, before clipping.
    """
    by_kernel = update.ndim == 4 and options.granularity == "kernel"
    # One row per vector whose norm and inner product count.
    rows = (update.shape[0] * update.shape[1], -1) if by_kernel else (1, -1)
    g_k, g_0 = update.reshape(rows), reference.reshape(rows)
    counted = None if mask is None else mask.reshape(rows)
    kernels = _Kernels.measure(g_k, g_0, options)
    own, cross = kernels.weights(options)
    result = g_k * own[:, None]
    if options.term == "gradient":
        result.addcmul_(g_0, cross[:, None])
    else:
        result += _noise_as_long_as(g_0 * cross[:, None], generator)
    clipped = _clipped_share(result, options.clip, counted)
    if options.clip:
        result.clamp_(-options.clip, options.clip)
    if counted is not None:
        result = torch.where(counted, result, g_k)
    diagnostics = kernels.diagnose(cross, options, None if counted is None else counted.any(1))
    return result.reshape(update.shape), {**diagnostics, "clipped": clipped}


def _noise_as_long_as(term: Tensor, generator: torch.Generator | None) -> Tensor:
    drawn = torch.randn(term.shape, generator=generator, dtype=term.dtype)
    longer: Tensor = torch.linalg.vector_norm(term) / torch.linalg.vector_norm(drawn).clamp_min(1e-300)
    return drawn * longer


@dataclass(frozen=True)
class _Kernels:
    """Norms and inner products of the kernels of one target; all tensors are of shape (kernels,)."""

    norm: Tensor  # n_k
    reference_norm: Tensor  # n_0
    beta: Tensor
    theta: Tensor

    @classmethod
    def measure(cls, g_k: Tensor, g_0: Tensor, options: InCoOptions) -> "_Kernels":
        reference_norm = torch.linalg.vector_norm(g_0, dim=1)
        beta = torch.einsum("ij,ij->i", g_k, g_0)
        theta = _theta(reference_norm.square(), beta, options)
        return cls(torch.linalg.vector_norm(g_k, dim=1), reference_norm, beta, theta)

    def weights(self, options: InCoOptions) -> tuple[Tensor, Tensor]:
        """Return what g_k and g_0 are multiplied by."""
        cross = self.theta
        if options.optimise and options.sign_rule != "abs":
            otherwise = -cross if options.sign_rule == "paper-signed" else torch.zeros_like(cross)
            cross = torch.where(self.beta > 0, otherwise, cross)
        if not options.normalise:
            return torch.ones_like(cross), cross
        scale = (self.norm + self.reference_norm) / 2
        return scale / (self.norm + options.epsilon), cross * scale / (self.reference_norm + options.epsilon)

    def diagnose(self, cross: Tensor, options: InCoOptions, counted: Tensor | None) -> dict[str, float]:
        def mean(of: Tensor) -> float:
            kept = of if counted is None else of[counted]
            return float(kept.sum()) / max(1, kept.numel())

        layer_beta, alpha = self.beta.sum(), self.reference_norm.square().sum()
        term = self.reference_norm * cross if counted is None else (self.reference_norm * cross)[counted]
        return {
            "theta": mean(self.theta),
            "beta_positive": mean(self.beta > 0),
            "capped": mean(self.theta >= options.theta_max)
            if options.optimise and options.theta_max
            else 0.0,
            "layer_beta": float(layer_beta),
            "layer_theta": float(_theta(alpha, layer_beta, options)),
            "norm": float(torch.linalg.vector_norm(self.norm)),
            "reference_norm": float(alpha.sqrt()),
            "term_norm": float(torch.linalg.vector_norm(term)),
        }


def _theta(alpha: Tensor, beta: Tensor, options: InCoOptions) -> Tensor:
    if not options.optimise:
        return torch.ones_like(beta)
    theta = beta.abs() / (alpha + options.epsilon)
    return theta.clamp(max=options.theta_max) if options.theta_max else theta


def _clipped_share(mixed: Tensor, clip: float, mask: Tensor | None) -> float:
    if not clip:
        return 0.0
    beyond = mixed.abs() > clip
    if mask is None:
        return float(beyond.sum()) / max(1, beyond.numel())
    return float((beyond & mask).sum()) / max(1, int(mask.sum()))
