"""Correlation of two sets of maps pixel by pixel, in one read of each.

Within a row float32 sums of differences from a pixel of the map are enough; rows are added in
float64. Importing this module loads numba, so only long runs do.
"""

from typing import Any

import numpy as np

from layerscope.compiled import compiled
from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats

SUMS = 5
"""u, v, u u, v v and u v, one after the other."""


def paired(
    maps: Floats, changed: Floats, mirrored: bool = False, shift: float = 0.0, sides: int = 0
) -> Floats:
    """Correlation over the pixels of each map with the map at the same place in the other set.

    Args:
        maps: float32 (N, H, W, C).
        changed: float32 (N, H, W, C).
        mirrored: exchange left and right in ``maps`` first.
        shift: then move ``maps`` by so many pixels to the right, bilinear; from 0.
        sides: columns to leave out on the left and on the right.

    Returns:
        float32 (N, C), -1 to 1; NaN where a map of ``maps`` is constant within rounding, or not
        finite; 0 where only that of ``changed`` is constant; NaN where that one is not finite.
    """
    count, _, width, channels = maps.shape
    if width <= 2 * sides:
        return np.full((count, channels), np.nan, np.float32)
    whole, part = divmod(shift, 1)
    columns = np.arange(width) - int(whole)
    near, far = np.maximum(columns, 0), np.maximum(columns - 1, 0)
    if mirrored:
        near, far = width - 1 - near, width - 1 - far
    found = np.empty((count, channels), np.float32)
    kept = np.arange(sides, width - sides)
    for place in range(count):
        one, other = (np.ascontiguousarray(x[place], np.float32) for x in (maps, changed))
        sums = np.zeros((SUMS, channels))
        _sums(one, other, near[kept], far[kept], np.float32(part), kept, sums)
        found[place] = _correlation(sums, maps.shape[1] * len(kept), one[0, 0], other[0, 0])
    return found


def _correlation(sums: Any, pixels: int, one: Floats, other: Floats) -> Any:
    """Pearson's r from the sums of differences from a pixel of each map, that pixel given."""
    with np.errstate(all="ignore"):
        mean, mean_changed = sums[0] / pixels, sums[1] / pixels
        variance = sums[2] / pixels - mean**2
        variance_changed = sums[3] / pixels - mean_changed**2
        covariance = sums[4] / pixels - mean * mean_changed
        varies = variance > (ROUNDING * (mean + one)) ** 2
        varies_changed = variance_changed > (ROUNDING * (mean_changed + other)) ** 2
        finite = np.isfinite(covariance)
        r = covariance / np.sqrt(variance * variance_changed)
    return np.where(finite & varies, np.where(varies_changed, r, 0), np.nan)


@compiled(fastmath={"contract"}, apart=True)
def _row(one, other, near, far, share, kept, first, first_changed, sums):  # type: ignore[no-untyped-def]
    """Add a row of maps (W, C) to the float32 ``sums`` (5 C), three pixels at once."""
    channels = one.shape[1]
    keeps = np.float32(1) - share
    su, sv, suu = sums[:channels], sums[channels : 2 * channels], sums[2 * channels : 3 * channels]
    svv, suv = sums[3 * channels : 4 * channels], sums[4 * channels :]
    whole = kept.size // 3 * 3
    for at in range(0, whole, 3):
        a0, a1, a2 = one[near[at]], one[near[at + 1]], one[near[at + 2]]
        b0, b1, b2 = one[far[at]], one[far[at + 1]], one[far[at + 2]]
        c0, c1, c2 = other[kept[at]], other[kept[at + 1]], other[kept[at + 2]]
        for c in range(channels):
            pivot, pivot_changed = first[c], first_changed[c]
            u0 = keeps * a0[c] + share * b0[c] - pivot
            u1 = keeps * a1[c] + share * b1[c] - pivot
            u2 = keeps * a2[c] + share * b2[c] - pivot
            v0, v1, v2 = c0[c] - pivot_changed, c1[c] - pivot_changed, c2[c] - pivot_changed
            su[c] += u0 + u1 + u2
            sv[c] += v0 + v1 + v2
            suu[c] += u0 * u0 + u1 * u1 + u2 * u2
            svv[c] += v0 * v0 + v1 * v1 + v2 * v2
            suv[c] += u0 * v0 + u1 * v1 + u2 * v2
    for at in range(whole, kept.size):
        a, b, changed = one[near[at]], one[far[at]], other[kept[at]]
        for c in range(channels):
            u, v = keeps * a[c] + share * b[c] - first[c], changed[c] - first_changed[c]
            su[c] += u
            sv[c] += v
            suu[c] += u * u
            svv[c] += v * v
            suv[c] += u * v


@compiled()
def _sums(one, other, near, far, share, kept, sums):  # type: ignore[no-untyped-def]
    """Add maps (H, W, C) to the float64 ``sums`` (5, C): u, v, u u, v v and u v."""
    height, _, channels = one.shape
    row_sums = np.zeros(SUMS * channels, np.float32)
    for row in range(height):
        row_sums[:] = 0
        _row(one[row], other[row], near, far, share, kept, one[0, 0], other[0, 0], row_sums)
        for kind in range(SUMS):
            for c in range(channels):
                sums[kind, c] += row_sums[kind * channels + c]
