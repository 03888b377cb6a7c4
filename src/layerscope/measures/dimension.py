"""How many independent things a layer says (measure 6). High is not good: noise has full rank."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def effective_dimension(covariance: NDArray[Any]) -> float:
    """The number of equally strong directions that would spread the variance as the channels do.

    exp(-sum q_i log q_i), where q_i are the shares of the eigenvalues of the channels' correlation
    matrix. From m samples it cannot exceed m - 1: compare with a twin on the same samples.

    Args:
        covariance: (C, C), covariance or correlation of the channels. Channels with a variance of
            0, NaN or infinity are left out.

    Returns:
        1 (all channels say the same) to the number of channels that vary (all are uncorrelated);
        NaN where none does.
    """
    correlation = _correlation(covariance)
    if not len(correlation):
        return float("nan")
    values = np.linalg.eigvalsh(correlation)
    shares = values[values > 0] / values[values > 0].sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def relative_dimension(covariance: NDArray[Any]) -> float:
    """`effective_dimension` over the number of channels that vary.

    Returns:
        1 / C (redundant) to 1 (no two channels are correlated); NaN where no channel varies.
    """
    return effective_dimension(covariance) / max(len(_correlation(covariance)), 1)


def _correlation(covariance: NDArray[Any]) -> NDArray[np.float64]:
    """The correlation matrix of the channels that vary."""
    variance = np.diagonal(covariance).astype(np.float64)
    varying = np.flatnonzero(np.isfinite(variance) & (variance > 0))
    deviation = np.sqrt(variance[varying])
    return np.asarray(covariance[np.ix_(varying, varying)] / np.outer(deviation, deviation))
