"""The compiled loops of `layerscope.statistics.kernel`. Importing this module loads numba."""

import numpy as np

from layerscope.compiled import compiled

# Products may be fused with sums; nothing that would lose NaN or change the order of sums.
_compiled = compiled(error_model="numpy", fastmath={"contract"}, apart=True)

LANES = 256  # most channels at a time: their running sums stay in the nearest cache

FAR = 4.0
"""How many variances the pivot may lie from the mean, squared, before float32 is not enough."""

SMALLEST, LARGEST = 1e-15, 1e15
"""Between these the squares of differences are exact enough in float32."""

# The running sums of some channels are one array, one kind after the other; at distances of a
# multiple of 4096 bytes they would hinder each other. Slices say that no index is negative.
APART = LANES + 16
TOTAL, SQUARES, PRODUCTS, BORDER = 0, APART, 2 * APART, 3 * APART
POSITIVE, SATURATED, LEFT, HIGH = 4 * APART, 5 * APART, 6 * APART, 7 * APART
LOW, PIVOT, BEST, ROW, HALF, ROWS = (kind * APART for kind in range(8, 14))

FLUSH_PIXELS = 128
"""About how many pixels are added in float32."""


@_compiled
def _note(sums, c, a, threshold):  # type: ignore[no-untyped-def]
    zero, one = np.float32(0), np.float32(1)
    sums[HIGH + c] = a if a > sums[HIGH + c] else sums[HIGH + c]
    sums[LOW + c] = a if a < sums[LOW + c] else sums[LOW + c]
    # Sums chosen from, rather than terms, become one instruction instead of two.
    positive, saturated = sums[POSITIVE + c], sums[SATURATED + c]
    sums[POSITIVE + c] = positive + one if a > zero else positive
    sums[SATURATED + c] = saturated + one if abs(a) >= threshold else saturated


@_compiled
def _cheap(flat, at, pixels, channels, lanes, sums, threshold):  # type: ignore[no-untyped-def]
    """Add pixels of one row to the sums that need no neighbours, seven at once."""
    one, two, three = channels, 2 * channels, 3 * channels
    for x in range(0, pixels - 6, 7):
        s = at + x * channels
        e = s + lanes
        v0, v1, v2 = flat[s:e], flat[s + one : e + one], flat[s + two : e + two]
        s, e = s + three, e + three
        v3, v4, v5 = flat[s:e], flat[s + one : e + one], flat[s + two : e + two]
        v6 = flat[s + three : e + three]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            a0, a1, a2, a3, a4, a5, a6 = v0[c], v1[c], v2[c], v3[c], v4[c], v5[c], v6[c]
            d0, d1, d2, d3 = a0 - pivot, a1 - pivot, a2 - pivot, a3 - pivot
            d4, d5, d6 = a4 - pivot, a5 - pivot, a6 - pivot
            sums[TOTAL + c] += ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + d6)
            _note(sums, c, a0, threshold)
            _note(sums, c, a1, threshold)
            _note(sums, c, a2, threshold)
            _note(sums, c, a3, threshold)
            _note(sums, c, a4, threshold)
            _note(sums, c, a5, threshold)
            _note(sums, c, a6, threshold)
    for x in range(pixels // 7 * 7, pixels):
        v = flat[at + x * channels : at + x * channels + lanes]
        for c in range(lanes):
            sums[TOTAL + c] += v[c] - sums[PIVOT + c]
            _note(sums, c, v[c], threshold)


@_compiled
def _full(  # type: ignore[no-untyped-def]
    flat, at, above, up, up_step, pixels, channels, lanes, sums, threshold, position, place
):
    """Add pixels of one row to all sums; those of `_cheap` to the same bits."""
    one, two, three = channels, 2 * channels, 3 * channels
    up1, up2, up3 = up_step, 2 * up_step, 3 * up_step
    for x in range(0, pixels - 6, 7):
        s, u, p = at + x * channels, up + x * up_step, place + x * channels
        e = s + lanes
        v0, v1, v2 = flat[s:e], flat[s + one : e + one], flat[s + two : e + two]
        s, e = s + three, e + three
        v3, v4, v5 = flat[s:e], flat[s + one : e + one], flat[s + two : e + two]
        v6 = flat[s + three : e + three]
        e = u + lanes
        u0, u1, u2 = above[u:e], above[u + up1 : e + up1], above[u + up2 : e + up2]
        u, e = u + up3, e + up3
        u3, u4, u5 = above[u:e], above[u + up1 : e + up1], above[u + up2 : e + up2]
        u6 = above[u + up3 : e + up3]
        e = p + lanes
        p0, p1, p2 = position[p:e], position[p + one : e + one], position[p + two : e + two]
        p, e = p + three, e + three
        p3, p4, p5 = position[p:e], position[p + one : e + one], position[p + two : e + two]
        p6 = position[p + three : e + three]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            a0, a1, a2, a3, a4, a5, a6 = v0[c], v1[c], v2[c], v3[c], v4[c], v5[c], v6[c]
            d0, d1, d2, d3 = a0 - pivot, a1 - pivot, a2 - pivot, a3 - pivot
            d4, d5, d6 = a4 - pivot, a5 - pivot, a6 - pivot
            near = d0 * (sums[LEFT + c] + (u0[c] - pivot)) + d1 * (d0 + (u1[c] - pivot))
            near += d2 * (d1 + (u2[c] - pivot)) + d3 * (d2 + (u3[c] - pivot))
            near += d4 * (d3 + (u4[c] - pivot)) + d5 * (d4 + (u5[c] - pivot))
            sums[PRODUCTS + c] += near + d6 * (d5 + (u6[c] - pivot))
            sums[LEFT + c] = d6
            sums[TOTAL + c] += ((d0 + d1) + (d2 + d3)) + ((d4 + d5) + d6)
            squares = (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
            sums[SQUARES + c] += squares + ((d4 * d4 + d5 * d5) + d6 * d6)
            p0[c] += d0
            p1[c] += d1
            p2[c] += d2
            p3[c] += d3
            p4[c] += d4
            p5[c] += d5
            p6[c] += d6
            _note(sums, c, a0, threshold)
            _note(sums, c, a1, threshold)
            _note(sums, c, a2, threshold)
            _note(sums, c, a3, threshold)
            _note(sums, c, a4, threshold)
            _note(sums, c, a5, threshold)
            _note(sums, c, a6, threshold)
    for x in range(pixels // 7 * 7, pixels):
        s, u, p = at + x * channels, up + x * up_step, place + x * channels
        _one(flat[s : s + lanes], above[u : u + lanes], sums, threshold, position[p : p + lanes])


@_compiled
def _one(v, up, sums, threshold, position):  # type: ignore[no-untyped-def]
    """Add one pixel to all sums."""
    for c in range(v.size):
        a, pivot = v[c], sums[PIVOT + c]
        d = a - pivot
        sums[TOTAL + c] += d
        sums[SQUARES + c] += d * d
        sums[PRODUCTS + c] += d * (sums[LEFT + c] + (up[c] - pivot))
        sums[LEFT + c] = d
        position[c] += d
        _note(sums, c, a, threshold)


@_compiled
def _border(flat, at, stride, pixels, lanes, sums):  # type: ignore[no-untyped-def]
    """Add pixels a stride apart to the sum over the border."""
    for pixel in range(pixels):
        v = flat[at + pixel * stride : at + pixel * stride + lanes]
        for c in range(lanes):
            sums[BORDER + c] += v[c] - sums[PIVOT + c]


@_compiled
def _half(flat, at, pixels, channels, lanes, sums):  # type: ignore[no-untyped-def]
    """Add pixels to the sum over the left half; they were just read and are at hand."""
    one = channels
    for x in range(0, pixels - 3, 4):
        s = at + x * channels
        e = s + lanes
        v0, v1 = flat[s:e], flat[s + one : e + one]
        s, e = s + 2 * one, e + 2 * one
        v2, v3 = flat[s:e], flat[s + one : e + one]
        for c in range(lanes):
            pivot = sums[PIVOT + c]
            pair = (v0[c] - pivot) + (v1[c] - pivot)
            sums[HALF + c] += pair + ((v2[c] - pivot) + (v3[c] - pivot))
    for x in range(pixels // 4 * 4, pixels):
        v = flat[at + x * channels : at + x * channels + lanes]
        for c in range(lanes):
            sums[HALF + c] += v[c] - sums[PIVOT + c]


@_compiled
def _copy(source, at, lanes, target, to):  # type: ignore[no-untyped-def]
    part, result = source[at : at + lanes], target[to : to + lanes]
    for c in range(lanes):
        result[c] = part[c]


@_compiled
def _flush(sums, kind, lanes, target):  # type: ignore[no-untyped-def]
    part = sums[kind : kind + lanes]
    for c in range(lanes):
        target[c] += part[c]
        part[c] = 0


@_compiled
def _ends(sums, lanes, row):  # type: ignore[no-untyped-def]
    """Note the row where the maximum has risen."""
    for c in range(lanes):
        best, high = sums[BEST + c], sums[HIGH + c]
        sums[ROW + c] = row if high > best else sums[ROW + c]
        sums[BEST + c] = high


@_compiled
def _map_band(  # type: ignore[no-untyped-def]
    flat, at, pivots, mid, span, height, width, channels, lanes, sampled, threshold,
    sums, position, place, totals, counts,
):  # fmt: skip
    """Some rows of the maps of some channels of one image."""
    length = width * channels
    flush_every = FLUSH_PIXELS // width + 1
    for row in range(span[0], span[1]):
        start = at + row * length
        sums[LEFT : LEFT + lanes] = 0
        if not sampled:
            _cheap(flat, start, width, channels, lanes, sums, threshold)
        else:
            if row == 0:  # nothing lies above: the pivot, so that the difference is 0
                above, up, up_step = pivots, mid, 0
            else:
                above, up, up_step = flat, start - length, channels
            _full(
                flat, start, above, up, up_step, width, channels, lanes,
                sums, threshold, position[row], place,
            )  # fmt: skip
            _half(flat, start, width // 2, channels, lanes, sums)
            _border(flat, start, length - channels, 2, lanes, sums)
            for end in (0, height - 1):
                if row == end:
                    _border(flat, start, channels, width, lanes, sums)
        _ends(sums, lanes, np.float32(row))
        if (row - span[0]) % flush_every == flush_every - 1 or row == span[1] - 1:
            for kind in range(4):
                _flush(sums, kind * APART, lanes, totals[kind])
            _flush(sums, HALF, lanes, totals[4])
            _flush(sums, POSITIVE, lanes, counts[0])
            _flush(sums, SATURATED, lanes, counts[1])


@_compiled
def _start(sums, lanes, pivots, mid, totals, counts):  # type: ignore[no-untyped-def]
    # The last flush has left zeros in all that is added up.
    sums[ROW : ROW + lanes] = 0
    sums[HIGH : HIGH + lanes] = -np.inf
    sums[BEST : BEST + lanes] = -np.inf
    sums[LOW : LOW + lanes] = np.inf
    _copy(pivots, mid, lanes, sums, PIVOT)
    totals[:] = 0
    counts[:] = 0


@_compiled
def work(  # type: ignore[no-untyped-def]
    flat, width, sampled, threshold, pivots, blocks,
    totals, ends, rows, counts, position, first, step,
):  # fmt: skip
    """Every step-th task from the first; a task is a band of rows of a block of channels."""
    bands, images, channels = rows.shape
    height = position.shape[0]
    most = -(-channels // (blocks * 16)) * 16 if blocks > 1 else channels
    sums = np.zeros(ROWS, np.float32)
    for task in range(first, bands * blocks, step):
        band, c0 = task // blocks, task % blocks * most
        lanes = min(most, channels - c0)
        span = (band * height // bands, (band + 1) * height // bands)
        for image in range(images if lanes > 0 else 0):
            mid = image * channels + c0
            total = totals[:, band, image, c0 : c0 + lanes]
            count = counts[:, band, image, c0 : c0 + lanes]
            _start(sums, lanes, pivots, mid, total, count)
            _map_band(
                flat, image * height * width * channels + c0, pivots, mid,
                span, height, width, channels, lanes, sampled[image], threshold,
                sums, position, c0, total, count,
            )  # fmt: skip
            _copy(sums, HIGH, lanes, ends[0, band, image], c0)
            _copy(sums, LOW, lanes, ends[1, band, image], c0)
            _copy(sums, ROW, lanes, rows[band, image], c0)


@_compiled
def quarters(height, width, sampled, pivots, totals, cells):  # type: ignore[no-untyped-def]
    """The means of the quarters of the maps of sampled images, before the bands are joined."""
    bands, images, channels = totals.shape[1:]
    middle, left = bands // 2, width // 2
    right, above = width - left, height // 2
    for image in range(images):
        if not sampled[image]:
            continue
        for lower in range(2):
            rows = height - above if lower else above
            span = (middle, bands) if lower else (0, middle)
            for c in range(channels):
                whole, half = 0.0, 0.0
                for band in range(span[0], span[1]):
                    whole += totals[0, band, image, c]
                    half += totals[4, band, image, c]
                pivot = pivots[image * channels + c]
                if rows * left > 0:
                    cells[image, 2 * lower, c] = half / (rows * left) + pivot
                if rows > 0:
                    cells[image, 2 * lower + 1, c] = (whole - half) / (rows * right) + pivot


@_compiled
def _join(totals, ends, rows, counts, image, band):  # type: ignore[no-untyped-def]
    """Add a band to the first one."""
    for c in range(rows.shape[2]):
        for kind in range(4):
            totals[kind, 0, image, c] += totals[kind, band, image, c]
        for kind in range(2):
            counts[kind, 0, image, c] += counts[kind, band, image, c]
        if ends[0, band, image, c] > ends[0, 0, image, c]:
            ends[0, 0, image, c] = ends[0, band, image, c]
            rows[0, image, c] = rows[band, image, c]
        ends[1, 0, image, c] = min(ends[1, 0, image, c], ends[1, band, image, c])


@_compiled
def together(  # type: ignore[no-untyped-def]
    height, width, sampled, pivots, totals, ends, rows, counts, results, doubtful
):
    """Join the bands; the means, and the sums around them from the sums around the pivots."""
    bands, images, channels = rows.shape
    size, pairs = height * width, height * (width - 1) + width * (height - 1)
    for image in range(images):
        for band in range(1, bands):
            _join(totals, ends, rows, counts, image, band)
        for c in range(channels):
            total, squares = totals[0, 0, image, c], totals[1, 0, image, c]
            products, border = totals[2, 0, image, c], totals[3, 0, image, c]
            shift = total / size
            m2 = squares - total * shift
            # Every pixel is part of four pairs, less one for each border that it lies at.
            rook = products - shift * (4 * total - border) + shift * shift * pairs
            spread = np.float64(ends[0, 0, image, c]) - np.float64(ends[1, 0, image, c])
            exact = (spread == 0) | ((spread > SMALLEST) & (spread < LARGEST))
            exact &= total * shift <= FAR * m2
            known = sampled[image]
            results[0, image, c] = pivots[image * channels + c] + shift
            results[1, image, c] = m2 if known else np.nan
            results[2, image, c] = rook if known and pairs > 0 else np.nan
            doubtful[image, c] = not (np.isfinite(total) & (exact | (not known)))


@_compiled
def again(values, images, channels, mean, m2, rook):  # type: ignore[no-untyped-def]
    """Sum some maps around their mean in float64."""
    _, height, width, _ = values.shape
    for at in range(images.size):
        image, channel = images[at], channels[at]
        middle = mean[image, channel]
        squares, products = 0.0, 0.0
        for y in range(height):
            left = 0.0
            for x in range(width):
                d = values[image, y, x, channel] - middle
                squares += d * d
                products += d * left
                if y > 0:
                    products += d * (values[image, y - 1, x, channel] - middle)
                left = d
        m2[image, channel] = squares
        if height * width > 1:
            rook[image, channel] = products
