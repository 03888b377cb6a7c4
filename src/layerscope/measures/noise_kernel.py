"""The compiled loop of `layerscope.measures.noise`. Importing this module loads numba."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.compiled import compiled
from layerscope.vocabulary import Floats

Doubles = NDArray[np.float64]


def detail(one: Floats, side: int) -> Floats:
    """The mean square of the second mixed difference in blocks of the interior.

    Args:
        one: float32 (H, W, C), sides of at least ``side`` + 2 pixels.
        side: of the blocks; what is left at the right and below belongs to none.

    Returns:
        float32 (blocks, C).
    """
    height, width, channels = one.shape
    rows, columns = (height - 2) // side, (width - 2) // side
    found = np.zeros((rows * columns, channels), np.float32)
    _add(one, side, columns, found)
    found /= np.float32(side * side)
    return found


@compiled()
def _add(one: Any, side: Any, columns: Any, found: Any) -> None:
    two, four = np.float32(2), np.float32(4)
    channels = one.shape[2]
    for block in range(found.shape[0]):
        top, left = block // columns * side + 1, block % columns * side + 1
        for y in range(top, top + side):
            for x in range(left, left + side):
                for c in range(channels):
                    corners = one[y - 1, x - 1, c] + one[y - 1, x + 1, c]
                    corners += one[y + 1, x - 1, c] + one[y + 1, x + 1, c]
                    sides = (
                        one[y - 1, x, c] + one[y + 1, x, c] + one[y, x - 1, c] + one[y, x + 1, c]
                    )
                    d = corners - two * sides + four * one[y, x, c]
                    found[block, c] += d * d


def mean_and_variance(one: Floats) -> tuple[Doubles, Doubles]:
    """Of each map over its pixels, both (C,), in one read of the maps (H, W, C)."""
    sums = np.zeros((2, one.shape[2]))
    pixels = one.shape[0] * one.shape[1]
    with np.errstate(invalid="ignore", over="ignore"):
        _sum(one.reshape(pixels, -1), sums)
        around, squares = sums / pixels  # of differences from the first pixel, in float64
        return one[0, 0] + around, np.maximum(squares - around**2, 0)


@compiled(apart=True)
def _sum(cells: Any, sums: Any) -> None:
    first, total, squares = cells[0], sums[0], sums[1]
    for pixel in range(cells.shape[0]):
        values = cells[pixel]
        for c in range(values.size):
            d = np.float64(values[c]) - np.float64(first[c])
            total[c] += d
            squares[c] += d * d
