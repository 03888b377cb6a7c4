"""How far the channels of a layer differ between two sets of images. Descriptive: no verdict.

Other classes or other light in one of the sets shift a layer as much as memory does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerscope.vocabulary import Floats

DRAWS = 199
_VARIES = 1e-6
"""Standard deviation, as a share of its largest value, from which on a channel counts."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two sets of images lie apart in one layer.

    Attributes:
        value: root mean square over the channels of the difference of the two means, in standard
            deviations within the sets (Cohen's d), less what chance adds: 0 where the layer cannot
            tell the sets apart, 1 where they lie one standard deviation apart; no upper end. NaN
            where no channel varies.
        chance: what 95 % of random divisions of the same images stay below.
    """

    value: float
    chance: float


def activation_shift(one: Floats, other: Floats, seed: int = 0) -> Shift:
    """Compare the pooled values of a layer on two sets of images.

    Args:
        one: (n, C), one value per image and channel, such as the mean of a map.
        other: (m, C); n + m is at least 5.
        seed: of the random divisions.
    """
    both = np.concatenate([one, other]).astype(np.float64)
    both = both[:, np.isfinite(both).all(0)]
    largest = np.abs(both).max(0, initial=0)
    both -= both.mean(0)
    spread = both.std(0)
    varies = spread > _VARIES * largest
    both = both[:, varies] / spread[varies]
    if not both.shape[1]:
        return Shift(float("nan"), float("nan"))
    sides = np.zeros((1 + DRAWS, len(both)), bool)
    sides[0, : len(one)] = True
    random = np.random.default_rng(seed)
    sides[1:] = random.permuted(np.tile(sides[0], (DRAWS, 1)), axis=1)
    values = _distances(sides, both)
    return Shift(float(values[0]), float(np.quantile(values[1:], 0.95)))


def _distances(sides: NDArray[np.bool_], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Shift.value` of each division (B, n + m) of values (n + m, C) whose means are 0."""
    n, m = int(sides[0].sum()), int((~sides[0]).sum())
    apart = sides @ values * (1 / n + 1 / m)  # since both sums add up to 0
    within = (values**2).sum(0) - apart**2 * n * m / (n + m)
    free = n + m - 2
    squares = apart**2 / np.maximum(within / free, np.finfo(float).tiny)
    # The square of a t value has the expectation free / (free - 2).
    chance = (1 / n + 1 / m) * free / (free - 2)
    return np.asarray(np.sqrt(np.maximum(0, squares.mean(1) - chance)))
