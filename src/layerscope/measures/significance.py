"""How rare a value is among values that arose by chance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_EQUAL = 1e-9
"""Values closer than this count as equal: they differ by the order of their sums."""


def p_value(observed: NDArray[Any], null: NDArray[Any]) -> NDArray[np.float64]:
    """One-sided p = (1 + #{null >= observed}) / (1 + B).

    Args:
        observed: of any shape; NaN where there is nothing to judge.
        null: (B,), finite.

    Returns:
        the shape of ``observed``, 1 / (1 + B) (rarer than all draws) to 1 (every draw is as
        large); NaN stays NaN.
    """
    below = np.searchsorted(np.sort(null), observed - _EQUAL)
    return np.where(np.isnan(observed), np.nan, (1 + len(null) - below) / (1 + len(null)))
