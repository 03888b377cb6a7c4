"""How far a mean over images could lie from what other images of the same kind would give.

The image is what is exchangeable, never the pixel, so images are resampled (percentile bootstrap,
Efron 1979), the same ones for all channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Doubles = NDArray[np.float64]

DRAWS = 400
FEWEST = 8
"""Images with a known value below which nothing is said."""


def resampled_means(
    rows: NDArray[Any], draws: int = DRAWS, seed: int = 0, groups: NDArray[Any] | None = None
) -> _Doubles:
    """The mean of each channel over resampled images.

    Args:
        rows: (N, C), one value per image and channel; NaN where a channel says nothing.
        draws: B, how often to resample.
        seed: of the draws.
        groups: (N,), images of one group (crops of one photo) are drawn together; default each
            image on its own.

    Returns:
        (B, C); NaN where no image drawn has a value.
    """
    if not len(rows):
        return np.full((draws, rows.shape[1]), np.nan)
    known = np.isfinite(rows)
    values = np.where(known, rows, 0).astype(np.float32)
    members = np.unique(np.arange(len(rows)) if groups is None else groups, return_inverse=True)[1]
    count = int(members.max()) + 1
    random = np.random.default_rng(seed)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=draws)
    weights = drawn[:, members].astype(np.float32)
    total, number = weights @ values, weights @ known.astype(np.float32)
    return np.asarray(total / np.where(number > 0, number, np.nan), np.float64)


def interval(
    rows: NDArray[Any],
    against: NDArray[Any] | None = None,
    level: float = 0.95,
    seed: int = 0,
    groups: NDArray[Any] | None = None,
) -> tuple[_Doubles, _Doubles]:
    """The interval of each channel's mean, or of its lead over another mean.

    Args:
        rows: (N, C), see `resampled_means`.
        against: (M, C), values whose mean is subtracted, such as those on noise input; they are
            resampled on their own.
        level: share of the resamples inside.
        seed: of the draws.
        groups: see `resampled_means`.

    Returns:
        Lower and upper end, (C,) each; NaN where fewer than `FEWEST` images, or groups of them,
        have a value.
    """
    means = resampled_means(rows, seed=seed, groups=groups)
    enough = _units(rows, groups) >= FEWEST
    if against is not None:
        means = means - resampled_means(against, seed=seed + 1)
        enough &= np.isfinite(against).any(0)
    tail = (1 - level) / 2
    ends = np.full((2, rows.shape[1]), np.nan)
    known = enough & np.isfinite(means).all(0)
    ends[:, known] = _quantiles(means[:, known], (tail, 1 - tail))
    if (gaps := enough & ~known).any():
        ends[:, gaps] = np.nanquantile(means[:, gaps], (tail, 1 - tail), axis=0)
    return ends[0], ends[1]


def wilson(hits: float, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share (Wilson, JASA 1927).

    Args:
        hits: 0 to ``count``; no whole number where each of the ``count`` is right in part.
        count: how many there are, at least 1.
    """
    share, more = hits / count, _Z**2 / count
    middle = (share + more / 2) / (1 + more)
    half = float(np.sqrt(share * (1 - share) * more + more**2 / 4)) / (1 + more)
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding may lead outside


_Z = 1.959963984540054
"""Of the normal distribution, for 95 %."""


def _quantiles(means: _Doubles, levels: tuple[float, ...]) -> _Doubles:
    """`numpy.quantile` of (B, C) over B, several times faster; shape (levels, C)."""
    places = np.array(levels) * (len(means) - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, len(means) - 1)
    ordered = np.partition(means.T.copy(), np.unique([below, above]), axis=1)
    return np.asarray(
        ordered[:, below].T + (places - below)[:, None] * (ordered[:, above] - ordered[:, below]).T
    )


def _units(rows: NDArray[Any], groups: NDArray[Any] | None) -> NDArray[np.int64]:
    """How many images, or groups of images, have a value in each channel."""
    known = np.isfinite(rows)
    if groups is None:
        return np.asarray(known.sum(0))
    return np.asarray(sum(known[groups == group].any(0) for group in np.unique(groups)))
