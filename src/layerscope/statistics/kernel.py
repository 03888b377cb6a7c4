"""Sums over the pixels of every map, in one read of the maps.

The maps are cut into bands of rows. How many depends on their shape alone, so that neither the
number of threads nor the other images of the batch change one bit of what is said about a map.
Within a row float32 sums of differences from a pivot near the mean are enough; rows are added in
float64. The few maps for which that is not exact enough are summed again in float64.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba  # type: ignore[import-untyped, import-not-found, unused-ignore]
import numpy as np
from numpy.typing import NDArray

from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]


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
    """

    finite: NDArray[np.bool_]
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


def map_sums(values: Floats, sampled: NDArray[np.bool_], ceiling: float = float("inf")) -> MapSums:
    """Sum the pixels of each map.

    Args:
        values: float32 (N, H, W, C), read once where its memory is contiguous, never written to.
        sampled: bool (N,), the images for which `m2`, `rook` and the sums over positions are
            wanted.
        ceiling: the bound of the activation that made the maps.

    Returns:
        For each map numbers that do not depend on the other images of the batch.
    """
    count, height, width, channels = values.shape
    flat = np.ascontiguousarray(values, np.float32).reshape(-1)
    flat.flags.writeable = False  # one type, one compilation
    chosen = np.ascontiguousarray(sampled, np.bool_)
    bands = min(height, BANDS)
    threshold = _threshold(ceiling)
    pivot = np.empty((count, channels), np.float32)
    sums = np.zeros((bands, count, 4, channels), np.float64)
    ends = np.empty((bands, count, 2, channels), np.float32)
    counts = np.zeros((bands, count, 3, channels), np.int32)
    position = np.zeros(height * width * channels, np.float32)
    _pivots(flat, height, width, channels, pivot)
    workers = _workers() if flat.size >= WORTH_THREADS else 1
    arguments = (flat, height, width, chosen, threshold, pivot, sums, ends, counts, position)
    others = [
        _pool(os.getpid()).submit(_bands, *arguments, at, workers) for at in range(1, workers)
    ]
    _bands(*arguments, 0, workers)
    for other in others:
        other.result()
    finite = np.empty((count, channels), np.bool_)
    results = np.empty((3, count, channels), np.float64)
    _finish(flat, height, width, chosen, threshold, pivot, sums, ends, counts, finite, results)
    _without(flat, chosen, pivot, finite, position)
    seen = finite & chosen[:, None]
    return MapSums(
        finite,
        ends[0, :, 0],
        ends[0, :, 1],
        counts[0, :, 0],
        results[0],
        counts[0, :, 1].astype(np.int64),
        counts[0, :, 2].astype(np.int64),
        results[1],
        results[2],
        position.reshape(height, width, channels),
        np.where(seen, pivot, 0.0).sum(axis=0, dtype=np.float64),
        seen.sum(axis=0),
    )


BANDS = 8
"""The most bands that the rows of the maps are cut into: enough for the cores to share."""

WORTH_THREADS = 100_000
"""Fewer values are summed sooner than another thread wakes up."""


def _threshold(ceiling: float) -> np.float32:
    """The smallest float32 that is at least .99 of the ceiling."""
    exact = 0.99 * ceiling
    near = np.float32(exact)
    return near if near >= exact else np.nextafter(near, np.float32(np.inf))


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - threads do not survive a fork
    return ThreadPoolExecutor(_workers(), thread_name_prefix="layerscope-sums")


def _compiled(function: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True, fastmath={"contract"})(function)
    except RuntimeError:  # no folder in which the compiled code could be kept
        return numba.njit(nogil=True, fastmath={"contract"})(function)


PIVOT_PIXELS = 4


@_compiled
def _pivots(flat, height, width, channels, pivot):  # type: ignore[no-untyped-def]
    """The mean of a few pixels that lie apart and away from the border; 0 if it is not finite."""
    size = height * width
    for image in range(pivot.shape[0]):
        for channel in range(channels):
            total = 0.0
            for part in range(PIVOT_PIXELS):
                row = (2 * part + 1) * height // (2 * PIVOT_PIXELS)
                column = (2 * ((part * 2 + 1) % PIVOT_PIXELS) + 1) * width // (2 * PIVOT_PIXELS)
                total += flat[(image * size + row * width + column) * channels + channel]
            mean = np.float32(total / PIVOT_PIXELS)
            pivot[image, channel] = mean if np.isfinite(mean) else np.float32(0)


@_compiled
def _full_row(  # type: ignore[no-untyped-def]
    flat, at, above, above_at, width, pivot, work, position, place, threshold
):
    channels = pivot.size
    zero, one = np.float32(0), np.float32(1)
    for column in range(width):
        start = column * channels
        for c in range(channels):
            a = flat[at + start + c]
            d = a - pivot[c]
            work[0, c] += d
            work[1, c] += d * d
            work[2, c] += d * (work[7, c] + (above[above_at + start + c] - pivot[c]))
            work[7, c] = d
            position[place + start + c] += d
            work[3, c] = a if a > work[3, c] else work[3, c]
            work[4, c] = a if a < work[4, c] else work[4, c]
            work[5, c] += one if a > zero else zero
            work[6, c] += one if abs(a) >= threshold else zero


@_compiled
def _cheap_row(flat, at, width, pivot, work, threshold):  # type: ignore[no-untyped-def]
    channels = pivot.size
    zero, one = np.float32(0), np.float32(1)
    for column in range(width):
        start = column * channels
        for c in range(channels):
            a = flat[at + start + c]
            work[0, c] += a - pivot[c]
            work[3, c] = a if a > work[3, c] else work[3, c]
            work[4, c] = a if a < work[4, c] else work[4, c]
            work[5, c] += one if a > zero else zero
            work[6, c] += one if abs(a) >= threshold else zero


@_compiled
def _edges(flat, at, first, last, step, pivot, total):  # type: ignore[no-untyped-def]
    channels = pivot.size
    for column in range(first, last, step):
        for c in range(channels):
            total[c] += flat[at + column * channels + c] - pivot[c]


@_compiled
def _bands(  # type: ignore[no-untyped-def]
    flat, height, width, sampled, threshold, pivot, sums, ends, counts, position, first, step
):
    """Every step-th band from the first: what its rows add to every map."""
    bands, images, _, channels = sums.shape
    length = width * channels
    work = np.empty((8, channels), np.float32)
    nothing = np.empty(length, np.float32)
    for band in range(first, bands, step):
        for image in range(images):
            mid = pivot[image]
            total, end, number = sums[band, image], ends[band, image], counts[band, image]
            end[0] = -np.inf
            end[1] = np.inf
            if sampled[image] and band == 0:
                for column in range(width):
                    nothing[column * channels : (column + 1) * channels] = mid
            for row in range(band * height // bands, (band + 1) * height // bands):
                at = (image * height + row) * length
                work[:] = 0
                work[3] = -np.inf
                work[4] = np.inf
                if not sampled[image]:
                    _cheap_row(flat, at, width, mid, work, threshold)
                else:
                    place = row * length
                    if row == 0:
                        _full_row(
                            flat, at, nothing, 0, width, mid, work, position, place, threshold
                        )
                    else:
                        _full_row(
                            flat,
                            at,
                            flat,
                            at - length,
                            width,
                            mid,
                            work,
                            position,
                            place,
                            threshold,
                        )
                    _edges(flat, at, 0, width, max(width - 1, 1), mid, total[3])
                    if width == 1:
                        _edges(flat, at, 0, 1, 1, mid, total[3])
                    if row == 0:
                        _edges(flat, at, 0, width, 1, mid, total[3])
                    if row == height - 1:
                        _edges(flat, at, 0, width, 1, mid, total[3])
                for c in range(channels):
                    total[0, c] += work[0, c]
                    total[1, c] += work[1, c]
                    total[2, c] += work[2, c]
                    if work[3, c] > end[0, c]:
                        end[0, c] = work[3, c]
                        number[0, c] = row
                    end[1, c] = min(end[1, c], work[4, c])
                    number[1, c] += np.int32(work[5, c])
                    number[2, c] += np.int32(work[6, c])


@_compiled
def _exact(flat, start, height, width, channels, mean):  # type: ignore[no-untyped-def]
    """The mean (kept where it is finite), m2 and rook of one map in float64, pixel by pixel."""
    size = height * width
    if not np.isfinite(mean):
        mean = 0.0
        for pixel in range(size):
            mean += np.float64(flat[start + pixel * channels]) / size
    m2 = rook = 0.0
    for pixel in range(size):
        d = flat[start + pixel * channels] - mean
        m2 += d * d
        if pixel % width:
            rook += d * (flat[start + (pixel - 1) * channels] - mean)
        if pixel >= width:
            rook += d * (flat[start + (pixel - width) * channels] - mean)
    return mean, m2, rook


@_compiled
def _all_finite(flat, start, size, channels):  # type: ignore[no-untyped-def]
    for pixel in range(size):
        if not np.isfinite(flat[start + pixel * channels]):
            return False
    return True


FAR = 4.0
"""How many variances the pivot may lie from the mean, squared, before float32 is not enough."""

SMALLEST, LARGEST = 1e-15, 1e15
"""Between these the squares of differences are exact enough in float32."""


@_compiled
def _finish(  # type: ignore[no-untyped-def]
    flat, height, width, sampled, threshold, pivot, sums, ends, counts, finite, results
):
    """Add the bands up, into the first one, and check whether float32 was enough."""
    bands, images, _, channels = sums.shape
    size = height * width
    pairs = height * (width - 1) + width * (height - 1)
    for image in range(images):
        for c in range(channels):
            for band in range(1, bands):
                for kind in range(4):
                    sums[0, image, kind, c] += sums[band, image, kind, c]
                if ends[band, image, 0, c] > ends[0, image, 0, c]:
                    ends[0, image, 0, c] = ends[band, image, 0, c]
                    counts[0, image, 0, c] = counts[band, image, 0, c]
                ends[0, image, 1, c] = min(ends[0, image, 1, c], ends[band, image, 1, c])
                counts[0, image, 1, c] += counts[band, image, 1, c]
                counts[0, image, 2, c] += counts[band, image, 2, c]
            start = image * size * channels + c
            total, squares, products, edge = sums[0, image, :, c]
            finite[image, c] = np.isfinite(total) or _all_finite(flat, start, size, channels)
            if not finite[image, c]:
                ends[0, image, :, c] = np.nan
                counts[0, image, :, c] = 0
                results[:, image, c] = np.nan
                continue
            shift = total / size
            mean = pivot[image, c] + shift
            m2 = squares - total * shift
            rook = products - shift * (4 * total - edge) + shift * shift * pairs
            spread = np.float64(ends[0, image, 0, c]) - ends[0, image, 1, c]
            safe = spread == 0 or SMALLEST < spread < LARGEST
            if not np.isfinite(total) or (
                sampled[image] and not (safe and total * shift <= FAR * m2)
            ):
                mean, m2, rook = _exact(flat, start, height, width, channels, mean)
            results[0, image, c] = mean
            results[1, image, c] = m2 if sampled[image] else np.nan
            results[2, image, c] = rook if sampled[image] and pairs else np.nan


@_compiled
def _without(flat, sampled, pivot, finite, position):  # type: ignore[no-untyped-def]
    """Sum the positions again where a map that is not finite has spoilt them."""
    images, channels = finite.shape
    length = position.size
    for c in range(channels):
        spoilt = False
        for image in range(images):
            spoilt |= sampled[image] and not finite[image, c]
        if not spoilt:
            continue
        for at in range(c, length, channels):
            total = np.float32(0)
            for image in range(images):
                if sampled[image] and finite[image, c]:
                    total += flat[image * length + at] - pivot[image, c]
            position[at] = total
