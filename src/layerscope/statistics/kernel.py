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
    values = np.ascontiguousarray(values, np.float32)
    chosen = np.ascontiguousarray(sampled, np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):  # damaged maps are told apart at the end
        pivot = _pivots(values)
        parts = _parts(values, chosen, pivot, np.float32(_threshold(ceiling)))
        return _together(values, chosen, pivot, parts)


PIVOT_ROWS = np.array([1, 3, 5, 7]) / 8
PIVOT_COLUMNS = np.array([3, 7, 1, 5]) / 8
"""Where the pixels for the pivot lie: apart, and away from the border, where maps are special."""


def _pivots(values: Floats) -> Floats:
    """The mean of a few pixels, (N, C); 0 where it is not finite, as then the map is not."""
    height, width = values.shape[1:3]
    rows, columns = (PIVOT_ROWS * height).astype(int), (PIVOT_COLUMNS * width).astype(int)
    mean = values[:, rows, columns].mean(axis=1, dtype=np.float64).astype(np.float32)
    return np.where(np.isfinite(mean), mean, np.float32(0))


def _threshold(ceiling: float) -> np.float32:
    """The smallest float32 that is at least .99 of the ceiling."""
    exact = 0.99 * ceiling
    near = np.float32(exact)
    return near if near >= exact else np.nextafter(near, np.float32(np.inf))


@dataclass(frozen=True)
class _Parts:
    """What each band of rows adds, (bands, N, C); the kinds of `sums` and `ends` come first."""

    sums: Doubles  # of d, of d^2, of d times the d above and to the left, of d at the borders
    ends: Floats  # maximum, minimum
    counts: NDArray[np.int64]  # first row of the maximum, positive, saturated
    position: Floats  # (H, W, C)


BAND_PIXELS, MOST_BANDS = 96, 8
LANES = 256
"""The most channels at a time: their running sums stay in the nearest cache."""

WORTH_THREADS = 200_000
"""Fewer values are summed sooner than another thread wakes up."""


def _parts(
    values: Floats, sampled: NDArray[np.bool_], pivot: Floats, threshold: np.float32
) -> _Parts:
    count, height, width, channels = values.shape
    bands = max(min(height, MOST_BANDS, height * width // BAND_PIXELS), 1)
    blocks = 1 if channels <= LANES else 2 * -(-channels // (2 * LANES))
    parts = _Parts(
        np.zeros((4, bands, count, channels)),
        np.empty((2, bands, count, channels), np.float32),
        np.zeros((3, bands, count, channels), np.int64),
        np.zeros((height, width, channels), np.float32),
    )
    flat = values.reshape(-1)
    flat.flags.writeable = False  # one type, one compilation
    arguments = (
        *(flat, width, sampled, threshold, pivot, blocks),
        *(parts.sums, parts.ends, parts.counts, parts.position.reshape(height, -1)),
    )
    workers = min(_workers(), bands * blocks) if flat.size >= WORTH_THREADS else 1
    # The calling thread takes its share.
    others = [_pool(os.getpid()).submit(_work, *arguments, at, workers) for at in range(1, workers)]
    _work(*arguments, 0, workers)
    for other in others:
        other.result()
    return parts


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - threads do not survive a fork
    return ThreadPoolExecutor(_workers(), thread_name_prefix="layerscope-sums")


FAR = 4.0
"""How many variances the pivot may lie from the mean, squared, before float32 is not enough."""

SMALLEST, LARGEST = 1e-15, 1e15
"""Between these the squares of differences are exact enough in float32."""


def _together(values: Floats, sampled: NDArray[np.bool_], pivot: Floats, parts: _Parts) -> MapSums:
    """Add the bands up, and sum again what float32 is not enough for."""
    height, width = values.shape[1:3]
    size, pairs = height * width, height * (width - 1) + width * (height - 1)
    total, squares, products, border = parts.sums.sum(axis=1)
    maximum, minimum = parts.ends[0].max(axis=0), parts.ends[1].min(axis=0)
    shift = total / size
    mean = pivot + shift
    m2 = squares - total * shift
    rook = products - shift * (4 * total - border) + shift**2 * pairs
    spread = maximum.astype(np.float64) - minimum
    finite = np.isfinite(total)
    for image, channel in np.argwhere(~finite & (spread > LARGEST) & np.isfinite(spread)):
        # Either the sum is too large for float32 or there is a NaN.
        one = values[image, :, :, channel]
        finite[image, channel] = np.isfinite(one).all()
        mean[image, channel] = (one / size).sum(dtype=np.float64)
    exact = (spread == 0) | ((spread > SMALLEST) & (spread < LARGEST) & (total * shift <= FAR * m2))
    for image, channel in np.argwhere(finite & ~exact & sampled[:, None]):
        around = values[image, :, :, channel] - mean[image, channel]
        m2[image, channel] = (around**2).sum()
        rook[image, channel] = (around[1:] * around[:-1]).sum() + (
            around[:, 1:] * around[:, :-1]
        ).sum()
    seen = finite & sampled[:, None]
    band = parts.ends[0].argmax(axis=0)[None]
    row = np.take_along_axis(parts.counts[0], band, axis=0)[0]
    return MapSums(
        finite,
        np.where(finite, maximum, np.float32(np.nan)),
        np.where(finite, minimum, np.float32(np.nan)),
        np.where(finite, row, 0).astype(np.int32),
        np.where(finite, mean, np.nan),
        np.where(finite, parts.counts[1].sum(axis=0), 0),
        np.where(finite, parts.counts[2].sum(axis=0), 0),
        np.where(seen, m2, np.nan),
        np.where(seen & (pairs > 0), rook, np.nan),
        _without(values, sampled, pivot, finite, parts.position),
        np.where(seen, pivot, 0).sum(axis=0, dtype=np.float64),
        seen.sum(axis=0),
    )


def _without(
    values: Floats,
    sampled: NDArray[np.bool_],
    pivot: Floats,
    finite: NDArray[np.bool_],
    position: Floats,
) -> Floats:
    """Sum the positions again for the channels that a map that is not finite has spoilt."""
    spoilt = (sampled[:, None] & ~finite).any(axis=0)
    if spoilt.any():
        position[..., spoilt] = 0
        for image in np.flatnonzero(sampled):
            d = values[image][..., spoilt] - pivot[image, spoilt]
            position[..., spoilt] += np.where(finite[image, spoilt], d, np.float32(0))
    return position


def _compiled(function: Any) -> Any:
    # Products may be fused with sums; nothing that would lose NaN or change the order of sums.
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder in which the compiled code could be kept
        return numba.njit(**options)(function)


# The running sums of some channels are one array, so that the compiler has few pointers to tell
# apart and uses vector instructions; it needs slices as well, whose indices cannot be negative.
# Rows apart by a multiple of 4096 bytes would hinder each other.
APART = LANES + 16
TOTAL, SQUARES, PRODUCTS, BORDER = 0, APART, 2 * APART, 3 * APART
POSITIVE, SATURATED, LEFT, HIGH = 4 * APART, 5 * APART, 6 * APART, 7 * APART
LOW, PIVOT, BEST, ROW = 8 * APART, 9 * APART, 10 * APART, 11 * APART
ROWS = 12 * APART


CHUNK = 2048
"""About how many values are taken at a time, so that the second look at them costs little."""

FLUSH_PIXELS = 128
"""About how many pixels are added in float32."""


@_compiled
def _seen(a, high, low, positive, saturated, threshold):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    return (
        a if a > high else high,
        a if a < low else low,
        positive + (one if a > zero else zero),
        saturated + (one if abs(a) >= threshold else zero),
    )


@_compiled
def _cheap(flat, at, pixels, channels, lanes, sums, threshold):  # type: ignore[no-untyped-def]
    """Add pixels of one row to the sums that need no neighbours."""
    for pixel in range(0, pixels - 3, 4):
        start = at + pixel * channels
        v0 = flat[start : start + lanes]
        v1 = flat[start + channels : start + channels + lanes]
        v2 = flat[start + 2 * channels : start + 2 * channels + lanes]
        v3 = flat[start + 3 * channels : start + 3 * channels + lanes]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            d01 = (v0[c] - pivot) + (v1[c] - pivot)
            sums[TOTAL + c] += d01 + ((v2[c] - pivot) + (v3[c] - pivot))
            seen = (sums[HIGH + c], sums[LOW + c], sums[POSITIVE + c], sums[SATURATED + c])
            seen = _seen(v0[c], *seen, threshold)
            seen = _seen(v1[c], *seen, threshold)
            seen = _seen(v2[c], *seen, threshold)
            seen = _seen(v3[c], *seen, threshold)
            sums[HIGH + c], sums[LOW + c], sums[POSITIVE + c], sums[SATURATED + c] = seen
    for pixel in range(pixels // 4 * 4, pixels):
        start = at + pixel * channels
        v0 = flat[start : start + lanes]
        for c in range(lanes):
            sums[TOTAL + c] += v0[c] - sums[PIVOT + c]
            seen = (sums[HIGH + c], sums[LOW + c], sums[POSITIVE + c], sums[SATURATED + c])
            seen = _seen(v0[c], *seen, threshold)
            sums[HIGH + c], sums[LOW + c], sums[POSITIVE + c], sums[SATURATED + c] = seen


@_compiled
def _pairs(flat, at, above, up, up_step, pixels, channels, lanes, sums):  # type: ignore[no-untyped-def]
    """Add pixels of one row to the sums of squares and of products of neighbours."""
    for pixel in range(0, pixels - 3, 4):
        s, u = at + pixel * channels, up + pixel * up_step
        v0, u0 = flat[s : s + lanes], above[u : u + lanes]
        s, u = s + channels, u + up_step
        v1, u1 = flat[s : s + lanes], above[u : u + lanes]
        s, u = s + channels, u + up_step
        v2, u2 = flat[s : s + lanes], above[u : u + lanes]
        s, u = s + channels, u + up_step
        v3, u3 = flat[s : s + lanes], above[u : u + lanes]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            d0, d1, d2, d3 = v0[c] - pivot, v1[c] - pivot, v2[c] - pivot, v3[c] - pivot
            sums[SQUARES + c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            near0 = d0 * (sums[LEFT + c] + (u0[c] - pivot)) + d1 * (d0 + (u1[c] - pivot))
            near1 = d2 * (d1 + (u2[c] - pivot)) + d3 * (d2 + (u3[c] - pivot))
            sums[PRODUCTS + c] += near0 + near1
            sums[LEFT + c] = d3
    for pixel in range(pixels // 4 * 4, pixels):
        s, u = at + pixel * channels, up + pixel * up_step
        v0, u0 = flat[s : s + lanes], above[u : u + lanes]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            d0 = v0[c] - pivot
            sums[SQUARES + c] += d0 * d0
            sums[PRODUCTS + c] += d0 * (sums[LEFT + c] + (u0[c] - pivot))
            sums[LEFT + c] = d0


@_compiled
def _difference(flat, at, pivots, length, result, place):  # type: ignore[no-untyped-def]
    v, target = flat[at : at + length], result[place : place + length]
    for i in range(length):
        target[i] += v[i] - pivots[i]


@_compiled
def _border(flat, at, stride, pixels, lanes, sums):  # type: ignore[no-untyped-def]
    """Add pixels a stride apart to the sum over the border."""
    for pixel in range(pixels):
        v = flat[at + pixel * stride : at + pixel * stride + lanes]
        for c in range(lanes):
            sums[BORDER + c] += v[c] - sums[PIVOT + c]


@_compiled
def _set(sums, kind, lanes, value):  # type: ignore[no-untyped-def]
    for c in range(lanes):
        sums[kind + c] = value


@_compiled
def _flush(sums, kind, lanes, target):  # type: ignore[no-untyped-def]
    for c in range(lanes):
        target[c] += sums[kind + c]
        sums[kind + c] = 0


@_compiled
def _ends(sums, lanes, row):  # type: ignore[no-untyped-def]
    """Note the row where the maximum has risen."""
    for c in range(lanes):
        best, high = sums[BEST + c], sums[HIGH + c]
        sums[ROW + c] = row if high > best else sums[ROW + c]
        sums[BEST + c] = high


@_compiled
def _map_band(  # type: ignore[no-untyped-def]
    flat, at, rows, height, width, channels, lanes, sampled, threshold, sums, tile, position, place,
    totals, counts,
):  # fmt: skip
    """Some rows of the maps of some channels of one image."""
    length, chunk = width * channels, tile.size // lanes
    flush_every = FLUSH_PIXELS // width + 1
    for row in range(rows[0], rows[1]):
        start = at + row * length
        _set(sums, LEFT, lanes, np.float32(0))
        for x in range(0, width, chunk):
            pixels, here = min(chunk, width - x), start + x * channels
            _cheap(flat, here, pixels, channels, lanes, sums, threshold)
            if not sampled:
                continue
            if row == 0:  # nothing lies above: the pivot, so that the difference is 0
                _pairs(flat, here, tile, 0, 0, pixels, channels, lanes, sums)
            else:
                _pairs(flat, here, flat, here - length, channels, pixels, channels, lanes, sums)
            if lanes == channels:
                _difference(flat, here, tile, pixels * lanes, position[row], x * channels)
            else:
                for pixel in range(0, pixels * channels, channels):
                    to = place + x * channels + pixel
                    _difference(flat, here + pixel, tile, lanes, position[row], to)
        if sampled:
            _border(flat, start, length - channels, 2, lanes, sums)
            for end in (0, height - 1):
                if row == end:
                    _border(flat, start, channels, width, lanes, sums)
        _ends(sums, lanes, np.float32(row))
        if (row - rows[0]) % flush_every == flush_every - 1 or row == rows[1] - 1:
            for kind in range(4):
                _flush(sums, kind * APART, lanes, totals[kind])
            _flush(sums, POSITIVE, lanes, counts[1])
            _flush(sums, SATURATED, lanes, counts[2])


@_compiled
def _work(  # type: ignore[no-untyped-def]
    flat, width, sampled, threshold, pivot, blocks, totals, ends, counts, position, first, step
):
    """Every step-th task from the first; a task is a band of rows of a block of channels."""
    bands, images, channels = totals.shape[1:]
    height = position.shape[0]
    most = -(-channels // (blocks * 16)) * 16 if blocks > 1 else channels
    sums = np.empty(ROWS, np.float32)
    tiles = np.empty(max(4, CHUNK // most // 4 * 4) * most, np.float32)
    for task in range(first, bands * blocks, step):
        band, c0 = task // blocks, task % blocks * most
        lanes = min(most, channels - c0)
        rows = (band * height // bands, (band + 1) * height // bands)
        tile = tiles[: tiles.size // most * lanes]
        for image in range(images if lanes > 0 else 0):
            mid = pivot[image, c0 : c0 + lanes]
            for start in range(0, tile.size, lanes):
                tile[start : start + lanes] = mid
            sums[:] = 0
            sums[PIVOT : PIVOT + lanes] = mid
            _set(sums, HIGH, lanes, np.float32(-np.inf))
            _set(sums, BEST, lanes, np.float32(-np.inf))
            _set(sums, LOW, lanes, np.float32(np.inf))
            _map_band(
                flat, image * height * width * channels + c0,
                rows, height, width, channels, lanes, sampled[image], threshold,
                sums, tile, position, c0,
                totals[:, band, image, c0 : c0 + lanes], counts[:, band, image, c0 : c0 + lanes],
            )  # fmt: skip
            for c in range(lanes):
                ends[0, band, image, c0 + c] = sums[HIGH + c]
                ends[1, band, image, c0 + c] = sums[LOW + c]
                counts[0, band, image, c0 + c] = np.int64(sums[ROW + c])
