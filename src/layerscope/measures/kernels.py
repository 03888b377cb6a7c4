"""Whether the kernels of a layer can be told from random ones, by the weights alone (measure 5).

Learned kernels resemble each other, so few patterns carry most of their variance; random ones fill
all directions alike (CNN-Filter-DB, arXiv 2203.15331). A layer that looks random may still belong
to a good model (arXiv 2301.11360): say "not distinguishable from random initialisation".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.measures.vitality import ROUNDING

FEWEST = 100
"""With fewer kernels the random threshold is not reliable."""

_L, _X0, _K, _B = 1.2618047, 2.30436435, 0.88767525, -0.31050834
"""Constants of the random threshold, from CNN-Filter-DB."""


def variance_entropy(kernel: NDArray[Any]) -> float:
    """The entropy of how the variance of the kernels spreads over their principal patterns.

    VE = -sum p_i log10 p_i, where p_i is the share of s_i^2, the squared singular values of the
    n x (kh kw) matrix of kernels less their mean.

    Args:
        kernel: (kh, kw, inputs, outputs), as Keras keeps it; n = inputs * outputs kernels.

    Returns:
        0 (one pattern) to log10(kh kw) (all patterns alike; .954 for 3x3); NaN where the kernels
        are all the same or not finite.
    """
    patterns = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1).astype(np.float64)
    if not np.isfinite(patterns).all():
        return float("nan")
    magnitude = np.square(patterns).sum()
    patterns -= patterns.mean(1, keepdims=True)
    strength = np.maximum(np.linalg.eigvalsh(patterns @ patterns.T), 0)
    if not strength.sum() > ROUNDING**2 * magnitude:
        return float("nan")
    share = strength[strength > 0] / strength.sum()
    return float(abs((share * np.log10(share)).sum()))


def random_threshold(kernels: int) -> float:
    """The variance entropy that so many random 3x3 kernels reach.

    T(n) = L / (1 + exp(-k (log2 n - x0))) + b. Fewer kernels leave the random entropy lower.

    Returns:
        rises with n to .951.
    """
    return float(_L / (1 + np.exp(-_K * (np.log2(kernels) - _X0))) + _B)


def kernel_ratio(kernel: NDArray[Any]) -> float:
    """The variance entropy of a layer over the random threshold.

    Args:
        kernel: (kh, kw, inputs, outputs).

    Returns:
        0 (degenerate, one pattern) over about .9 (typical of trained layers) to 1 and a little
        more (not distinguishable from random initialisation); NaN for kernels other than 3x3 and
        for fewer than 100 of them, which are not tested.
    """
    kernels = int(np.prod(kernel.shape[2:]))
    if kernel.shape[:2] != (3, 3) or kernels < FEWEST:
        return float("nan")
    return variance_entropy(kernel) / random_threshold(kernels)
