"""Whether a channel does anything at all: dead, constant and saturated channels (measure 1).

On maps that follow a ReLU, a channel is alive in an image when any pixel is above 0. On signed maps
that says nothing, and only the range counts.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Doubles = NDArray[np.float64]

ROUNDING = 1e-6
"""A range below this share of the magnitude is rounding. Also the share of the mean below which a
standard deviation is."""

NEGLIGIBLE = 1e-3
"""A channel whose range is below this share of its layer's typical one does not vary. A starting
point, to be decided by the planted benchmark."""


def firing_rate(fired: NDArray[np.int64], images: NDArray[np.int64] | int) -> _Doubles:
    """The share of images in which a channel fires: any pixel of its map is above 0.

    Only for maps that follow a ReLU or another activation that is silent at 0.

    Args:
        fired: (C,), the number of images in which each channel fired.
        images: how many were looked at, one number or (C,).

    Returns:
        (C,), 0 (never seen to fire: dead on these images) to 1 (fires in every image); NaN without
        images.
    """
    seen = np.asarray(images, np.float64)
    return np.asarray(fired / np.where(seen > 0, seen, np.nan))


def most_it_fires(images: NDArray[np.int64] | int) -> _Doubles:
    """The 95 % upper bound of the firing rate of a channel never seen to fire, about 3 / images.

    The exact binomial bound: the rate p at which n images without firing have a chance of 5 %,
    (1 - p)^n = .05.

    Returns:
        the shape of ``images``; 1 (nothing is known, no images) towards 0 (certainly dead).
    """
    seen = np.asarray(images, np.float64)
    return np.where(seen > 0, -np.expm1(np.log(0.05) / np.maximum(seen, 1)), 1.0)


def flat(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a range is nothing but rounding; elementwise over minima and maxima."""
    magnitude = np.maximum(np.abs(low), np.abs(high))
    return np.asarray(high.astype(np.float64) - low <= ROUNDING * magnitude)


def relative_range(minimum: NDArray[Any], maximum: NDArray[Any]) -> _Doubles:
    """The range of each channel over all images, against the layer's own.

    The layer's own is the median over its channels that vary at all, so that neither one loud
    channel nor many dead ones move it.

    Args:
        minimum: (C,), of each channel over all images; NaN where unknown.
        maximum: (C,), likewise.

    Returns:
        (C,), 0 (holds one value) upwards, 1 is typical of the layer; NaN where unknown.
    """
    low, high = np.asarray(minimum, np.float64), np.asarray(maximum, np.float64)
    span = np.where(flat(low, high), 0.0, high - low)
    varying = span[span > 0]
    return span / (np.median(varying) if len(varying) else 1.0)


def constant(
    minimum: NDArray[Any], maximum: NDArray[Any], share: float = NEGLIGIBLE
) -> NDArray[np.bool_]:
    """Channels that hold one value, dead ones included: `relative_range` below ``share``.

    Returns:
        bool (C,); False where the range is unknown.
    """
    return np.asarray(relative_range(minimum, maximum) < share)


def saturated_share(saturated: NDArray[np.int64], pixels: NDArray[np.int64] | int) -> _Doubles:
    """The share of a channel's pixels that lie within 1 % of the bound of its activation.

    Args:
        saturated: (C,), pixels with an absolute value of at least .99 of the bound.
        pixels: how many were looked at, one number or (C,).

    Returns:
        (C,), 0 (none, or the activation has no bound) to 1 (stuck at the bound); NaN without
        pixels.
    """
    return firing_rate(saturated, pixels)
