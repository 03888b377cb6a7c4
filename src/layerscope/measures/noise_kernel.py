"""The compiled loop of `layerscope.measures.noise`. Importing this module loads numba."""

from typing import Any

import numpy as np

from layerscope.compiled import compiled
from layerscope.vocabulary import Floats


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
