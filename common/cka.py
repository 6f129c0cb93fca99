"""Linear centred kernel alignment (Kornblith et al., ICML 2019; Chan et al., ICLR 2024, appendix A)."""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating]


def centred_gram(features: Matrix) -> npt.NDArray[np.float64]:
    """Return X X^T of column-centred features.

    Parameters
    ----------
    features : array of shape (samples, ...)
        All dimensions after the first are flattened.

    Returns
    -------
    array of shape (samples, samples), float64
    """
    flat = np.asarray(features, dtype=np.float64).reshape(len(features), -1)
    flat = flat - flat.mean(axis=0)
    gram: npt.NDArray[np.float64] = flat @ flat.T
    return gram


def cka_of_grams(first: Matrix, second: Matrix) -> float:
    """Return <K, L> / (||K|| ||L||) of two centred Gram matrices of the same samples; NaN if one is zero.

    With linear kernels that is ||Y^T X||^2 / (||X^T X|| ||Y^T Y||), all norms being Frobenius norms.
    """
    norms = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(np.vdot(first, second)) / norms if norms > 0 else float("nan")


def linear_cka(first: Matrix, second: Matrix) -> float:
    """Return the linear CKA of two representations of the same samples.

    It is in [0, 1], and invariant to rotation, isotropic scaling and translation of either one.

    Parameters
    ----------
    first, second : array of shape (samples, ...)
        Features; the two may differ in the number of features, but not of samples.
    """
    return cka_of_grams(centred_gram(first), centred_gram(second))
