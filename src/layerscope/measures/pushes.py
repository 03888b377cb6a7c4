"""How far a change of the images moves the numbers of all classes, beyond what controls do.

Several classes are looked at at once, a thousand of ImageNet's, and the one that rises most is
spoken of. So the p value is corrected for all of them: signs are flipped over photos, and each
class is held against the largest of all classes in each flip (max-T, Westfall & Young 1993).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

DRAWS = 400
FLIPS = 999
_Z = 1.959964


class Limits(NamedTuple):
    """A mean for each of K classes with its 95 % limits, (K,) each."""

    value: Doubles
    low: Doubles
    high: Doubles


def resamples(*names: NDArray[Any], seed: int = 0) -> Doubles:
    """How often each of N outcomes is drawn, (DRAWS, N).

    Args:
        names: one or more arrays (N,): what each outcome was made of, the photo that an image was
            cut from, or the donor of its patch. Each is resampled on its own, and an outcome
            counts by the product (pigeonhole bootstrap, Owen 2007).
        seed: of the draws; the first array is drawn alike for one seed, whatever follows it.
    """
    weights = np.ones((DRAWS, len(names[0])))
    for at, one in enumerate(names):
        random = np.random.default_rng((seed, at))
        members = np.unique(one, return_inverse=True)[1]
        count = int(members.max()) + 1
        weights *= random.multinomial(count, np.full(count, 1 / count), DRAWS)[:, members]
    return weights


def drawn_means(rows: NDArray[Any], weights: Doubles) -> Doubles:
    """The mean of each class over resampled outcomes: (N, K) -> (DRAWS, K); NaN where none is."""
    total = weights.sum(1, keepdims=True)
    return np.asarray((weights @ rows) / np.where(total > 0, total, np.nan))


def limits(value: NDArray[Any], drawn: Doubles, enough: bool = True) -> Limits:
    """Means with the limits that resampled ones give; without limits where there is too little."""
    low, high = np.full((2, len(value)), np.nan)
    if enough:
        low, high = np.nanquantile(drawn, (0.025, 0.975), axis=0)
    return Limits(np.asarray(value, np.float64), low, high)


def share_limits(share: NDArray[Any], count: NDArray[Any]) -> Limits:
    """Shares of so many images with their Wilson intervals (1927), which are not empty at 0."""
    share, weight = np.asarray(share, np.float64), _Z**2 / np.maximum(count, 1e-9)
    middle = (share + weight / 2) / (1 + weight)
    reach = np.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    return Limits(share, np.maximum(0, middle - reach), np.minimum(1, middle + reach))


def p_of_leads(leads: NDArray[Any], photos: NDArray[Any], seed: int = 0) -> Doubles:
    """One-sided p of each class for a mean above 0, corrected for all classes.

    Args:
        leads: (N, K), how much more each image's number rose than with its control.
        photos: (N,), images of one photo are flipped together.
        seed: of the flips.

    Returns:
        (K,), 1 / (1 + FLIPS) to 1.
    """
    members = np.unique(photos, return_inverse=True)[1]
    sums = np.zeros((members.max() + 1, leads.shape[1]))
    np.add.at(sums, members, leads)
    spread = np.sqrt((sums**2).sum(0))
    scaled = np.divide(sums, spread, out=np.zeros_like(sums), where=spread > 0)
    signs = np.random.default_rng((seed, 5)).choice((-1.0, 1.0), (FLIPS, len(sums)))
    largest = np.sort((signs @ scaled).max(1))
    beaten = FLIPS - np.searchsorted(largest, scaled.sum(0) - 1e-9)
    return np.asarray((1 + beaten) / (1 + FLIPS))
