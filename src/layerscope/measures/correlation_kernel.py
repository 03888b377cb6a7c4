"""Correlation of two sets of maps pixel by pixel, in one read of each.

Within a row float32 sums of differences from a pixel of the map are enough; rows are added in
float64. Importing this module loads numba, so only long runs do.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from layerscope.compiled import compiled
from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats


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

    def of_image(place: int) -> None:
        one, other = (np.ascontiguousarray(x[place], np.float32) for x in (maps, changed))
        sums = np.zeros((5, channels))
        _sums(one, other, near[kept], far[kept], np.float32(part), kept, sums)
        found[place] = _correlation(sums, maps.shape[1] * len(kept), one[0, 0], other[0, 0])

    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:
        list(pool.map(of_image, range(count)))
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


@compiled(fastmath={"contract"})
def _sums(one, other, near, far, share, kept, sums):  # type: ignore[no-untyped-def]
    """Add to ``sums`` (5, C): u, v, u u, v v and u v."""
    height, _, channels = one.shape
    keeps = np.float32(1) - share
    u1, v1, uu, vv, uv = (
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
        np.zeros(channels, np.float32),
    )
    first, first_changed = one[0, 0], other[0, 0]
    for row in range(height):
        u1[:] = 0
        v1[:] = 0
        uu[:] = 0
        vv[:] = 0
        uv[:] = 0
        for at in range(kept.size):
            a, b, c = one[row, near[at]], one[row, far[at]], other[row, kept[at]]
            for channel in range(channels):
                u = keeps * a[channel] + share * b[channel] - first[channel]
                v = c[channel] - first_changed[channel]
                u1[channel] += u
                v1[channel] += v
                uu[channel] += u * u
                vv[channel] += v * v
                uv[channel] += u * v
        for channel in range(channels):
            sums[0, channel] += u1[channel]
            sums[1, channel] += v1[channel]
            sums[2, channel] += uu[channel]
            sums[3, channel] += vv[channel]
            sums[4, channel] += uv[channel]
