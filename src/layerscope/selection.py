"""Which maps of a layer to show, and how much of the layer they carry.

"The strongest k maps" are no better than k maps at random, so the choice is made by coverage: the
share of the variance of all maps that a linear combination of the shown maps gives back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.measures.vitality import flat
from layerscope.vocabulary import Floats

_Matrix = NDArray[np.float64]

MOST_PIXELS = 16_384
"""More pixels than this are subsampled: correlations over so many hardly change any more."""

NO_NEWS = 1e-4
"""A map of which the shown maps leave less than this share of its variance is a duplicate."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The shown maps of one layer, in the order of choice, and what they stand for.

    Attributes:
        channels: the shown channels; greedy order, or channel order when all are shown.
        total: number of channels of the layer.
        coverage: explained variance of the shown maps over all varying maps, 0 to 1.
        pca_bound: the most that as many directions could explain, channels or not; 0 to 1.
        curve: coverage after the first, second, ... choice.
        representative: hidden varying channel -> the shown channel it is most alike to, by the
            absolute correlation.
        worst: the hidden channels that the shown ones explain least, with their R squared.
        constant: channels that hold one value other than 0 everywhere.
        dead: channels that are 0 everywhere.
        non_finite: channels with NaN or infinity anywhere.
        percent_known: False when there are fewer than ten pixels per shown map, so that coverage
            says little and must not be printed.
        exhausted: True when hidden maps are left and none of them adds anything: each varying
            one is a combination of the shown ones, or there are too few pixels to tell.
    """

    channels: tuple[int, ...]
    total: int
    coverage: float
    pca_bound: float
    curve: tuple[float, ...]
    representative: Mapping[int, int]
    worst: tuple[tuple[int, float], ...]
    constant: tuple[int, ...]
    dead: tuple[int, ...]
    non_finite: tuple[int, ...]
    percent_known: bool
    exhausted: bool


def select(
    maps: Floats,
    most: int | None = 16,
    enough: float | None = 0.8,
    ridge: float = 1e-6,
    listed: int = 5,
) -> Selection:
    """Choose the maps that carry the most of a layer.

    Greedy selection on EV(S) = tr(R_:S (R_SS + ridge I)^-1 R_S:) / C, where R is the correlation
    matrix of the C varying channels over all pixels of all images.

    Args:
        maps: float32 (N, H, W, C).
        most: show at most so many; None for no limit.
        enough: stop as soon as the coverage reaches this share. None means ``most`` maps, or as
            many as there are before no further map adds anything; with ``most=None``, or at least
            as many as there are channels, every map in channel order.
        ridge: added to the diagonal of R_SS.
        listed: how many of the worst-represented hidden channels to name.

    Raises:
        InputError: maps is not of rank 4, or most is below 1.
    """
    if maps.ndim != 4 or 0 in maps.shape:
        raise InputError(f"Maps must have shape (N, H, W, C) without a 0; got {maps.shape}.")
    if most is not None and most < 1:
        raise InputError(f"At least one map must be shown; got {most}. Give 1 or more, or 'all'.")
    cells = maps.reshape(-1, maps.shape[-1])
    total = cells.shape[1]
    varying, constant, dead, non_finite = _sort_channels(cells)
    alike = _Correlations.of(_standardised(_sample(cells), varying))
    wanted = total if most is None else min(most, total)
    everything = enough is None and wanted == total
    if everything:
        picks, loadings = np.arange(len(varying)), None
    else:
        picks, loadings = _greedy(alike, wanted, enough, ridge)
    explained = np.ones(len(varying)) if loadings is None else (loadings**2).sum(1)
    curve = () if loadings is None else tuple(np.cumsum((loadings**2).sum(0)) / len(varying))
    channels = [int(varying[pick]) for pick in picks]
    if everything:
        channels = list(range(total))
    return Selection(
        channels=tuple(channels),
        total=total,
        coverage=float(explained.mean()) if len(varying) else 0.0,
        pca_bound=alike.largest(len(channels)),
        curve=tuple(float(share) for share in curve),
        representative=_representatives(alike, varying, channels),
        worst=_worst(explained, varying, channels, listed),
        constant=constant,
        dead=dead,
        non_finite=non_finite,
        percent_known=cells.shape[0] >= 10 * len(channels) and len(varying) > 0,
        exhausted=0 < len(channels) < wanted and bool((1 - explained <= NO_NEWS).all()),
    )


def _sort_channels(
    cells: Floats,
) -> tuple[NDArray[np.intp], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the channels that vary, and those that are constant, dead and not finite."""
    low, high = cells.min(0), cells.max(0)
    finite = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(finite, low, 0), np.where(finite, high, 0)
    still = finite & flat(low, high)
    dead = still & (low == 0) & (high == 0)

    def indices(mask: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(channel) for channel in np.flatnonzero(mask))

    return np.flatnonzero(finite & ~still), indices(still & ~dead), indices(dead), indices(~finite)


def _sample(cells: Floats) -> Floats:
    """At most MOST_PIXELS rows, always the same; random, as a fixed step would meet patterns."""
    if len(cells) <= MOST_PIXELS:
        return cells
    rows = np.random.default_rng(0).choice(len(cells), MOST_PIXELS, replace=False)
    return cells[np.sort(rows)]


def _standardised(cells: Floats, varying: NDArray[np.intp]) -> _Matrix:
    """Columns of mean 0 and length 1, so that their products are correlations.

    A channel that varies only outside the sample becomes a column of 0: nothing explains it.
    """
    unit = cells[:, varying].astype(np.float64)
    unit -= unit.mean(0)
    length = np.sqrt(np.einsum("pc,pc->c", unit, unit))
    unit /= np.where(length > 0, length, 1)
    return unit


@dataclass(frozen=True, slots=True)
class _Correlations:
    """The correlation matrix R of C channels over P pixels, formed only where C <= P.

    Attributes:
        unit: float64 (P, C), columns of mean 0 and length 1 or 0.
        matrix: R, or None where products with ``unit`` are cheaper.
    """

    unit: _Matrix
    matrix: _Matrix | None

    @classmethod
    def of(cls, unit: _Matrix) -> "_Correlations":
        pixels, channels = unit.shape
        return cls(unit, unit.T @ unit if channels <= pixels else None)

    @property
    def channels(self) -> int:
        return int(self.unit.shape[1])

    def column(self, channel: int) -> _Matrix:
        if self.matrix is None:
            return np.asarray(self.unit.T @ self.unit[:, channel])
        return np.asarray(self.matrix[:, channel])

    def times(self, vector: _Matrix) -> _Matrix:
        if self.matrix is None:
            return np.asarray(self.unit.T @ (self.unit @ vector))
        return np.asarray(self.matrix @ vector)

    def own(self) -> _Matrix:
        """The diagonal: 1, or 0 for a channel that does not vary in the sample."""
        return np.asarray(np.einsum("pc,pc->c", self.unit, self.unit))

    def strength(self) -> _Matrix:
        """|R_j|^2 for each column j, by way of the smaller Gram matrix."""
        if self.matrix is None:
            turned = (self.unit @ self.unit.T) @ self.unit
            return np.asarray(np.einsum("pc,pc->c", self.unit, turned))
        return np.asarray(np.einsum("ij,ij->j", self.matrix, self.matrix))

    def largest(self, count: int) -> float:
        """Sum of the largest eigenvalues of R as a share of all: the PCA bound."""
        if count >= self.channels:
            return 1.0 if self.channels else 0.0
        gram = self.unit @ self.unit.T if self.matrix is None else self.matrix
        found = np.linalg.eigvalsh(gram)[-count:].sum() if count else 0.0
        return float(min(1.0, found / self.channels))


def _greedy(
    alike: _Correlations, most: int, enough: float | None, ridge: float
) -> tuple[NDArray[np.intp], _Matrix]:
    """Pick columns one by one; the loadings L are the pivoted Cholesky factor: L L' explains R.

    With the residual correlations R' = R - L L', a pick j gains |R'_j|^2 / R'_jj. Both are kept
    up to date from one product R' v a step.
    """
    channels = alike.channels
    loadings = np.zeros((channels, min(most, channels)))
    left, strength = alike.own(), alike.strength()
    free = left > NO_NEWS
    picks: list[int] = []
    while len(picks) < loadings.shape[1] and free.any():
        gain = np.where(free, strength / np.where(free, left, 1), -1)
        pick = int(gain.argmax())
        done = loadings[:, : len(picks)]
        column = alike.column(pick) - done @ done[pick]
        step = column / np.sqrt(column[pick] + ridge)
        product = alike.times(step) - done @ (done.T @ step)
        strength += step**2 * (step @ step) - 2 * step * product
        left -= step**2
        loadings[:, len(picks)] = step
        picks.append(pick)
        free = left > NO_NEWS
        if enough is not None and (loadings**2).sum() >= enough * channels:
            break
    return np.array(picks, dtype=np.intp), loadings[:, : len(picks)]


def _representatives(
    alike: _Correlations, varying: NDArray[np.intp], channels: list[int]
) -> dict[int, int]:
    shown = np.flatnonzero(np.isin(varying, channels))
    hidden = np.flatnonzero(~np.isin(varying, channels))
    if not len(shown) or not len(hidden):
        return {}
    to_shown = np.stack([alike.column(int(place)) for place in shown], axis=1)
    nearest = np.abs(to_shown[hidden]).argmax(1)
    pairs = zip(varying[hidden], varying[shown[nearest]], strict=True)
    return {int(channel): int(stands_for) for channel, stands_for in pairs}


def _worst(
    explained: _Matrix, varying: NDArray[np.intp], channels: list[int], listed: int
) -> tuple[tuple[int, float], ...]:
    hidden = np.flatnonzero(~np.isin(varying, channels))
    order = hidden[np.argsort(explained[hidden], kind="stable")[:listed]]
    return tuple((int(varying[place]), float(explained[place])) for place in order)
