"""Sums over the pixels of every map, in one read of the maps.

The maps are cut into bands of rows. How many depends on their shape alone, so that neither the
number of threads nor the other images of the batch change one bit of what is said about a map.
Within a row float32 sums of differences from a pivot near the mean are enough; rows are added in
float64. The few maps for which that is not exact enough are summed again in float64.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.statistics.kernel_loops import LANES, LARGEST, again, quarters, together, work
from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class MapSums:
    """Sums over the pixels of each map; arrays of shape (N, C) unless another is given.

    Where a map holds NaN or an infinity, ``finite`` is False, the counts are 0, the row is 0 and
    everything else is NaN.

    Attributes:
        finite: every pixel of the map is finite.
        maximum: the largest pixel, float32.
        minimum: the smallest pixel, float32.
        row_of_maximum: the first row that holds the maximum, int32.
        mean: over the pixels.
        positive: how many pixels are above 0.
        saturated: how many pixels have an absolute value of at least .99 of the ceiling; 0 where
            the ceiling is infinite.
        m2: sum of (a - mean)^2 over the pixels; NaN for images that are not sampled.
        rook: sum of (a - mean)(b - mean) over the pairs of neighbours, right and down, each pair
            once; NaN for images that are not sampled and maps of one pixel.
        position_sum: float32 (H, W, C), for each position the sum over the images that are
            sampled and finite of a - pivot(image, channel).
        position_pivot: float64 (C,), the sum of the pivots of these images.
        position_count: int64 (C,), how many images these are.
        cells: float32 (N, 4, C), the means of the quarters of each map: upper left, upper right,
            lower left, lower right, the rows cut at H // 2 and the columns at W // 2. NaN for
            quarters without a pixel and for images that are not sampled.
    """

    finite: Bools
    maximum: Floats
    minimum: Floats
    row_of_maximum: NDArray[np.int32]
    mean: Doubles
    positive: NDArray[np.int64]
    saturated: NDArray[np.int64]
    m2: Doubles
    rook: Doubles
    position_sum: Floats
    position_pivot: Doubles
    position_count: NDArray[np.int64]
    cells: Floats


def map_sums(
    values: Floats, sampled: Bools, ceiling: float = float("inf"), threads: int | None = None
) -> MapSums:
    """Sum the pixels of each map.

    Args:
        values: float32 (N, H, W, C), read once where its memory is contiguous, never written to.
        sampled: bool (N,), the images for which `m2`, `rook` and the sums over positions are
            wanted.
        ceiling: the bound of the activation that made the maps.
        threads: most that work on it; default as many as there are cores.

    Returns:
        For each map numbers that do not depend on the other images of the batch.
    """
    values = np.ascontiguousarray(values, np.float32)
    chosen = np.ascontiguousarray(sampled, np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):  # damaged maps are told apart at the end
        pivot = _pivots(values)
        sums, doubtful = _summed(values, chosen, pivot, _threshold(ceiling), threads)
        return _repaired(sums, doubtful, values, chosen, pivot) if doubtful.any() else sums


PIVOT_ROWS = np.array([1, 3, 5, 7]) / 8
PIVOT_COLUMNS = np.array([3, 7, 1, 5]) / 8
"""Where the pixels for the pivot lie: apart, and away from the border, where maps are special."""


def _pivots(values: Floats) -> Floats:
    """The second smallest of a few pixels, (N, C); 0 where it is not finite, as the map is not.

    Many maps are quiet but for a few pixels, and the mean of these few would be far from both.
    """
    height, width = values.shape[1:3]
    rows, columns = (PIVOT_ROWS * height).astype(int), (PIVOT_COLUMNS * width).astype(int)
    a, b, c, d = np.moveaxis(values[:, rows, columns], 1, 0)
    second = np.minimum(np.maximum(np.minimum(a, b), np.minimum(c, d)), np.maximum(a, b))
    second = np.minimum(second, np.maximum(c, d))
    return np.where(np.isfinite(second), second, np.float32(0))


def _threshold(ceiling: float) -> np.float32:
    """The smallest float32 that is at least .99 of the ceiling."""
    near = np.float32(0.99 * ceiling)
    return near if near >= 0.99 * ceiling else np.nextafter(near, np.float32(np.inf))


BAND_PIXELS, MOST_BANDS = 96, 8
WORTH_THREADS = 200_000  # fewer values are summed sooner than another thread wakes up


def _summed(
    values: Floats, sampled: Bools, pivot: Floats, threshold: np.float32, threads: int | None
) -> tuple[MapSums, Bools]:
    """The sums, and for which maps they cannot be trusted."""
    count, height, width, channels = values.shape
    # An even number, so that one band begins at the middle row.
    bands = max(min(height, MOST_BANDS, height * width // BAND_PIXELS) // 2 * 2, min(height, 2))
    blocks = 1 if channels <= LANES else 2 * -(-channels // (2 * LANES))
    totals = np.empty((5, bands, count, channels))
    ends = np.empty((2, bands, count, channels), np.float32)
    rows = np.empty((bands, count, channels), np.int32)
    counts = np.empty((2, bands, count, channels), np.int64)
    position = np.zeros((height, width, channels), np.float32)
    flat, pivots = values.reshape(-1), pivot.reshape(-1)
    flat.flags.writeable = pivots.flags.writeable = False  # one type, one compilation
    arguments: Any = (
        *(flat, width, sampled, threshold, pivots, blocks),
        *(totals, ends, rows, counts, position.reshape(height, -1)),
    )
    workers = min(threads or _workers(), bands * blocks) if flat.size >= WORTH_THREADS else 1
    pool = _pool(os.getpid())
    others = [pool.submit(partial(work, *arguments, at, workers)) for at in range(1, workers)]
    work(*arguments, 0, workers)
    for other in others:
        other.result()
    cells = np.full((count, 4, channels), np.nan, np.float32)
    quarters(height, width, sampled, pivots, totals, cells)
    results, doubtful = np.empty((3, count, channels)), np.empty((count, channels), np.bool_)
    together(height, width, sampled, pivots, totals, ends, rows, counts, results, doubtful)
    sums = MapSums(
        np.ones((count, channels), np.bool_),
        *(ends[0, 0], ends[1, 0], rows[0], results[0], counts[0, 0], counts[1, 0]),
        *(results[1], results[2], position),
        pivot[sampled].sum(axis=0, dtype=np.float64),
        np.full(channels, np.count_nonzero(sampled), np.int64),
        cells,
    )
    return sums, doubtful


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - threads do not survive a fork
    return ThreadPoolExecutor(_workers(), thread_name_prefix="layerscope-sums")


def _repaired(
    sums: MapSums, doubtful: Bools, values: Floats, sampled: Bools, pivot: Floats
) -> MapSums:
    """Sum the doubtful maps again in float64, and blank those that are not finite."""
    finite, mean, m2, rook = np.isfinite(sums.mean), sums.mean, sums.m2, sums.rook
    spread = sums.maximum.astype(np.float64) - sums.minimum
    for image, channel in np.argwhere(~finite & (spread > LARGEST) & np.isfinite(spread)):
        # Either the sum is too large for float32 or there is a NaN.
        one = values[image, :, :, channel]
        finite[image, channel] = np.isfinite(one).all()
        mean[image, channel] = (one / one.size).sum(dtype=np.float64)
    again(values, *np.nonzero(doubtful & finite & sampled[:, None]), mean, m2, rook)
    if finite.all():
        return sums
    seen = finite & sampled[:, None]
    return MapSums(
        finite,
        np.where(finite, sums.maximum, np.float32(np.nan)),
        np.where(finite, sums.minimum, np.float32(np.nan)),
        np.where(finite, sums.row_of_maximum, np.int32(0)),
        np.where(finite, mean, np.nan),
        np.where(finite, sums.positive, 0),
        np.where(finite, sums.saturated, 0),
        np.where(finite, m2, np.nan),
        np.where(finite, rook, np.nan),
        _without(values, sampled, pivot, finite, sums.position_sum),
        np.where(seen, pivot, 0).sum(axis=0, dtype=np.float64),
        seen.sum(axis=0),
        np.where(finite[:, None], sums.cells, np.float32(np.nan)),
    )


def _without(
    values: Floats, sampled: Bools, pivot: Floats, finite: Any, position: Floats
) -> Floats:
    """Sum the positions again for the channels that a map that is not finite has spoilt."""
    spoilt = (sampled[:, None] & ~finite).any(axis=0)
    if spoilt.any():
        position[..., spoilt] = 0
        for image in np.flatnonzero(sampled):
            d = values[image][..., spoilt] - pivot[image, spoilt]
            position[..., spoilt] += np.where(finite[image, spoilt], d, np.float32(0))
    return position
