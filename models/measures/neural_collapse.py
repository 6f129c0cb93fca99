"""Geometry of features by class: means, variances and neural collapse (Papyan et al. 2020).

Everything is in float64; the global mean is the mean of the class means.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Singular values below this share of the largest one count as 0.
_SMALLEST = 1e-10


@dataclass(frozen=True)
class ClassStatistics:
    """Statistics of the features of each class.

    Attributes
    ----------
    counts : Tensor
        int64, (classes,).
    means, variances : Tensor
        float64, (classes, features); variances divide by the number of samples.
    """

    counts: Tensor
    means: Tensor
    variances: Tensor


def class_statistics(features: Tensor, targets: Tensor, num_classes: int) -> ClassStatistics:
    """Return counts, means and variances of `features` (samples, features) by class; 0 for empty classes."""
    features = features.double()
    counts = torch.bincount(targets, minlength=num_classes)
    divisor = counts.clamp(min=1)[:, None]
    sums = features.new_zeros(num_classes, features.shape[1])
    means = sums.index_add(0, targets, features) / divisor
    variances = sums.index_add(0, targets, (features - means[targets]).square()) / divisor
    return ClassStatistics(counts, means, variances)


def cosines(vectors: Tensor) -> Tensor:
    """Return the cosines between all pairs of rows; 0 for rows of zeros."""
    units = torch.nn.functional.normalize(vectors.double(), dim=1)
    return units @ units.T


def pairwise_angles(vectors: Tensor) -> Tensor:
    """Return the angles in degrees between rows i < j, (pairs,), ordered by i and then j."""
    rows, columns = torch.triu_indices(len(vectors), len(vectors), offset=1)
    return cosines(vectors)[rows, columns].clamp(-1, 1).arccos().rad2deg()


def centred_means(statistics: ClassStatistics) -> Tensor:
    """Return the class means minus the global mean."""
    return statistics.means - statistics.means.mean(dim=0)


def within_class_variability(features: Tensor, targets: Tensor, statistics: ClassStatistics) -> float:
    """Return NC1 = tr(Sigma_W Sigma_B^+) / C: the variability of features around their class means.

    Sigma_W is the mean of the classes' covariances, Sigma_B the covariance of the class means.
    """
    num_classes = len(statistics.means)
    # Sigma_B = U diag(s^2 / C) U' with U, s of the centred means: only the projection on U counts.
    _, singular, directions = torch.linalg.svd(centred_means(statistics), full_matrices=False)
    kept = singular > _SMALLEST * singular.max()
    scaled = directions[kept].T / singular[kept] * math.sqrt(num_classes)
    deviations = (features.double() - statistics.means[targets]) @ scaled
    weights = 1 / (statistics.counts[targets] * num_classes)
    return float((weights[:, None] * deviations.square()).sum() / num_classes)


def equinorm_and_equiangularity(statistics: ClassStatistics) -> tuple[float, float]:
    """Return NC2: std / mean of the centred means' norms, and the mean of |cos + 1 / (C - 1)| over pairs."""
    centred = centred_means(statistics)
    norms = centred.norm(dim=1)
    num_classes = len(centred)
    rows, columns = torch.triu_indices(num_classes, num_classes, offset=1)
    off = (cosines(centred)[rows, columns] + 1 / (num_classes - 1)).abs().mean()
    return float(norms.std(correction=0) / norms.mean()), float(off)


def self_duality(weight: Tensor, statistics: ClassStatistics) -> float:
    """Return NC3 = || W / ||W|| - M / ||M|| ||, M the centred means, in Frobenius norms."""
    weight, centred = weight.double(), centred_means(statistics)
    return float((weight / weight.norm() - centred / centred.norm()).norm())


def nearest_mean_disagreement(features: Tensor, predictions: Tensor, statistics: ClassStatistics) -> float:
    """Return NC4: the share of samples for which head and nearest class mean disagree."""
    nearest = torch.cdist(features.double(), statistics.means).argmin(dim=1)
    return float((nearest != predictions).double().mean())


def negligible_dimensions(statistics: ClassStatistics, share: float = 0.4) -> Tensor:
    """Return the dimensions of each class whose mean is below that of ascending rank trunc(share * features).

    Returns
    -------
    Tensor
        bool, (classes, features).
    """
    means = statistics.means
    threshold = means.sort(dim=1).values[:, int(share * means.shape[1])]
    return means < threshold[:, None]


def spread(features: Tensor, targets: Tensor, statistics: ClassStatistics, chosen: Tensor) -> float:
    """Return E[(h - mu)^2] / E[|h - mu|]^2 over the `chosen` dimensions of each sample's class."""
    deviations = (features.double() - statistics.means[targets])[chosen[targets]]
    return float(deviations.square().mean() / deviations.abs().mean().square())
