"""Long-tailed training sets made from balanced ones.

Class 0 is the most frequent one and class C - 1 the rarest, by an imbalance factor IF = n_min / n_max, as in
FedLoGe (Xiao et al., ICLR 2024). The profiles are those of Cui et al. ("Class-Balanced Loss", CVPR 2019) and
of Cao et al. (LDAM, NeurIPS 2019), who write n_max / n_min.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from common.errors import UserError
from common.randomness import numpy_generator

IndexArray = npt.NDArray[np.int64]
Profile = Literal["exponential", "step"]


@dataclass(frozen=True)
class LongTail:
    """How a balanced training set is made long-tailed.

    Parameters
    ----------
    imbalance_factor : float
        Smallest class over largest class, in (0, 1].
    profile : str, default "exponential"
        See `long_tail_counts`.
    legacy_seed : int, default 0
        Seed of NumPy's legacy generator that chooses the samples; 0 gives the published sets, -1 a choice
        that follows from the run's seed.
    """

    imbalance_factor: float
    profile: Profile = "exponential"
    legacy_seed: int = 0

    def indices(self, targets: IndexArray, num_classes: int, seed: int) -> IndexArray:
        """Return the samples to keep, in their new order; `seed` is the run's. See `long_tail_indices`."""
        legacy_seed = self.legacy_seed
        if legacy_seed < 0:
            legacy_seed = int(numpy_generator(seed, "long-tail").integers(2**32))
        generator = np.random.RandomState(legacy_seed)
        return long_tail_indices(targets, num_classes, self.imbalance_factor, self.profile, generator)


def long_tail_counts(
    largest: float, num_classes: int, imbalance_factor: float, profile: Profile = "exponential"
) -> list[int]:
    """Return how many samples each class keeps.

    Parameters
    ----------
    largest : float
        n_max, the size of class 0.
    num_classes : int
        Number of classes C.
    imbalance_factor : float
        n_min / n_max, in (0, 1].
    profile : str, default "exponential"
        ``exponential``: trunc(n_max IF^(c / (C - 1))). ``step``: n_max for the first C // 2 classes and
        trunc(n_max IF) for the others.
    """
    if profile == "step":
        rare = int(largest * imbalance_factor)
        return [int(largest) if label < num_classes // 2 else rare for label in range(num_classes)]
    last = max(1, num_classes - 1)
    return [int(largest * imbalance_factor ** (label / last)) for label in range(num_classes)]


def long_tail_indices(
    targets: IndexArray,
    num_classes: int,
    imbalance_factor: float,
    profile: Profile,
    legacy_generator: np.random.RandomState,
) -> IndexArray:
    """Choose the samples of a long-tailed set: class by class, in the order in which they were drawn.

    Each class is shuffled in place by NumPy's legacy generator and its first samples are kept, as in the code
    of FedLoGe; seed 0 gives the published sets. n_max is the mean class size; a class that has too few
    samples keeps all.

    Parameters
    ----------
    targets : numpy.ndarray
        The labels of the whole training set.
    num_classes, imbalance_factor, profile
        See `long_tail_counts`.
    legacy_generator : numpy.random.RandomState
        Source of the shuffles.

    Raises
    ------
    UserError
        If a class would keep no sample.
    """
    counts = long_tail_counts(len(targets) / num_classes, num_classes, imbalance_factor, profile)
    kept = []
    for label, count in enumerate(counts):
        pool = np.flatnonzero(targets == label)
        if min(count, len(pool)) == 0:
            raise UserError(
                f"dataset.imbalance-factor {imbalance_factor} leaves class {label} without training samples:"
                " raise it"
            )
        legacy_generator.shuffle(pool)
        kept.append(pool[:count])
    return np.concatenate(kept)
