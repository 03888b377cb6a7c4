"""The bilinear resize of `layerscope.images.resize` compiled: bit-equal and several times faster.

Importing this module loads numba, so only long runs do. The kernel lets other threads run and
makes no array besides one row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.compiled import compiled


@compiled()
def _colour(  # type: ignore[no-untyped-def]
    lines, upper_row, lower_row, down, left, right, across, result
):
    """Fill ``result`` (h, 3 w) from ``lines`` (H, 3 W), uint8; the rest as in `_Places`."""
    between = np.empty(lines.shape[1], np.float32)
    for row in range(result.shape[0]):
        above, below, weight = lines[upper_row[row]], lines[lower_row[row]], down[row]
        for at in range(between.size):
            value = np.float32(above[at])
            between[at] = value + (np.float32(below[at]) - value) * weight
        # Channels one by one: a loop over three would not be unrolled.
        for pixel in range(left.size):
            start, end, share, to = left[pixel] * 3, right[pixel] * 3, across[pixel], pixel * 3
            value = between[start]
            result[row, to] = value + (between[end] - value) * share
            value = between[start + 1]
            result[row, to + 1] = value + (between[end + 1] - value) * share
            value = between[start + 2]
            result[row, to + 2] = value + (between[end + 2] - value) * share


def bilinear(pixels: NDArray[Any], out: NDArray[np.float32], down: Any, across: Any) -> None:
    """Fill ``out`` (h, w, 3) from uint8 (H, W, 3); ``down``, ``across``: the `_Places` per axis."""
    lines = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    lines.flags.writeable = False  # one type, one compilation
    _colour(
        lines,
        *(down.lower, down.upper, down.weight, across.lower, across.upper, across.weight),
        out.reshape(len(out), -1),
    )
