"""How rare a value is among values that arose by chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

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


def adjusted(p: Any) -> NDArray[np.float64]:
    """P corrected for many tests (Benjamini-Hochberg 1995) over those that are known.

    Args:
        p: of any shape, NaN where nothing was tested.
    """
    values = np.array(p, np.float64)
    known = np.isfinite(values)
    if known.any():
        values[known] = false_discovery_control(values[known])
    return values


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each of L values stands among draws of its own; each (L,), NaN where nothing varies.

    Attributes:
        z: distance from the mean of the draws, in their standard deviations, widened by
            sqrt(1 + 1 / S) since the mean is itself drawn.
        low: p value of being as low; see `standing`.
        high: p value of being as high.
        both: p value of being as far on either side.
    """

    z: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    both: NDArray[np.float64]


def standing(observed: NDArray[Any], draws: NDArray[Any]) -> Standing:
    """How rare L values are among draws, each among its own.

    A few draws make coarse p values, too coarse to correct for many layers. So the distances are
    pooled: that of each value to its draws is compared with those of all draws of all values, each
    to the other draws of its own value. What is assumed is one shape of the distribution for all,
    not one width.

    Args:
        observed: (L,).
        draws: (S, L), S at least 3; at best 20 and more. NaN where there is none.
    """
    size = len(draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, spread = draws.mean(0), draws.std(0, ddof=1)
        spread = np.where(spread > _EQUAL * np.abs(mean), spread, np.nan)
        z = (observed - mean) / (spread * np.sqrt(1 + 1 / size))
        # Each draw among the others: their mean and variance follow from those of all.
        others = mean + (mean - draws) / (size - 1)
        squares = (size - 1) * spread**2 - (draws - mean) ** 2 * size / (size - 1)
        width = np.sqrt(np.maximum(squares, 0) / (size - 2) * (1 + 1 / (size - 1)))
        null = ((draws - others) / np.where(width > 0, width, np.nan)).ravel()
    null = null[np.isfinite(null)]
    return Standing(z, p_value(-z, -null), p_value(z, null), p_value(np.abs(z), np.abs(null)))
