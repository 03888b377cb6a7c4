"""How narrow a heatmap is. Descriptive: narrow focus alone is not evidence of anything."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def half_share(heat: NDArray[Any]) -> NDArray[np.float64]:
    """The smallest share of the cells that holds half of what speaks for the answer.

    Args:
        heat: (N, h, w); only positive values count.

    Returns:
        (N,), 1 / (h w) (one cell has half of it) to .5 (all cells have the same); NaN where no
        value is positive.
    """
    cells = np.maximum(heat.reshape(len(heat), -1).astype(np.float64), 0)
    total = cells.sum(1)
    held = np.cumsum(-np.sort(-cells, 1), 1)
    # a little less than half: the sum of equal values may miss it by rounding
    enough = (held < 0.5 * total[:, None] * (1 - 1e-9)).sum(1) + 1
    return np.where(total > 0, enough / cells.shape[1], np.nan)
