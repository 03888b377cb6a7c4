"""Columns that are ready to be correlated: a product of two of them is Pearson's correlation."""

import numpy as np

from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats


def unit_columns(cells: Floats) -> Floats:
    """Each column less its mean and divided by its length.

    Args:
        cells: float32 (P, C), one column per channel.

    Returns:
        float32 (P, C); NaN where a column is constant, within rounding, not finite, or above
        1e18.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        mean = np.full(len(cells), 1 / len(cells), np.float32) @ cells
        unit = np.asarray(cells - mean)
        squares = np.einsum("pc,pc->c", unit, unit)
        varying = squares > len(cells) * (ROUNDING * mean.astype(np.float64)) ** 2
        unit /= np.sqrt(np.where(varying & (squares < np.inf), squares, np.nan))
    return unit
