"""Whether a channel tells classes apart (measure 8).

By average precision and not by plain AUC, which hardly moves when labels of a rare class are spoilt
and so fails the sanity checks of NeuronEval (arXiv 2506.05774). Compare with the untrained twin:
its channels tell classes apart as well.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from layerscope.errors import InputError
from layerscope.measures.significance import p_value

_Doubles = NDArray[np.float64]
_Ranks = NDArray[Any]

_CELLS = 4_000_000
"""Ranks held at a time."""

_SURE = 1e-3
"""Added to both sides of the odds, so that an average precision of 1 has some."""


def class_signal(pooled: NDArray[Any], labels: NDArray[np.int64], signed: bool = False) -> _Doubles:
    """One-vs-rest average precision of a channel's pooled activation, less the class's prevalence.

    AP = sum_n (R_n - R_(n-1)) P_n over the distinct activations from the largest down, where P and
    R are precision and recall of "at least as active"; images of equal activation come together.

    Args:
        pooled: (N, C), one value per image and channel.
        labels: (N,), class indices; images with -1 are left out.
        signed: also ask whether the channel is lowest on the class, and take the better. For
            pre-activation maps, whose sign is a convention; one that follows a ReLU says
            something only when it fires.

    Returns:
        (C, K), K = the largest label + 1. -prevalence (always last) over about 0 (chance, slightly
        above it with few images) to 1 - prevalence (the class and nothing else). NaN for classes
        without images or without others, and for channels that are constant or not finite.

    Raises:
        InputError: the numbers of images differ.
    """
    columns, known = _labelled(pooled, labels)
    classes = int(known.max()) + 1 if len(known) else 0
    signal = np.full((pooled.shape[1], classes), np.nan)
    for block in _blocks(_varying(columns), len(known)):
        values = columns[:, block].T
        found = _precision(rankdata(-values, "max", axis=1), known)
        if signed:
            found = np.maximum(found, _precision(rankdata(values, "max", axis=1), known))
        signal[block] = found
    return signal - np.bincount(known, minlength=classes) / max(len(known), 1)


def class_signal_p(
    pooled: NDArray[Any],
    labels: NDArray[np.int64],
    signed: bool = False,
    draws: int = 1999,
    seed: int = 0,
) -> _Doubles:
    """The chance that shuffled labels give any class as strong a signal.

    The statistic is the largest signal over the classes, and signs. For a fair contest between
    small and large classes it enters as log odds of the average precision, standardised by the
    class's mean and deviation under shuffling: as a plain difference, the chance hits of tiny
    classes drown all others. Equal activations are put in a random order, another one for each
    channel. Then every channel is one order of the images, all have the same distribution under
    shuffling, and one set of draws serves them all.

    Args:
        pooled: (N, C), as for `class_signal`.
        labels: (N,), as for `class_signal`.
        signed: as for `class_signal`.
        draws: B, the number of shuffles. The smallest p is 1 / (1 + B).
        seed: of shuffles and ties.

    Returns:
        (C,), 1 / (1 + draws) to 1, evenly spread where there is no signal; not yet corrected for
        the number of channels. NaN for channels that are constant or not finite, and where no
        class has both images and others.

    Raises:
        InputError: the numbers of images differ.
    """
    columns, known = _labelled(pooled, labels)
    p = np.full(pooled.shape[1], np.nan)
    if len(np.unique(known)) < 2:
        return p
    rng = np.random.default_rng(seed)
    known = np.unique(known, return_inverse=True)[1]
    order = np.arange(1, len(known) + 1, dtype=np.int32)
    null = np.concatenate(
        [
            _of_order(rng.permuted(np.tile(order, (len(block), 1)), axis=1), known, signed)
            for block in _blocks(np.arange(draws), len(known))
        ]
    )
    centre, spread = null.mean(0), np.where(null.std(0) > 0, null.std(0), 1)
    largest = ((null - centre) / spread).max(1)
    for block in _blocks(_varying(columns), len(known)):
        found = (_of_order(_order(columns[:, block].T, rng), known, signed) - centre) / spread
        p[block] = p_value(found.max(1), largest)
    return p


def _labelled(
    pooled: NDArray[Any], labels: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The images that have a label, and these."""
    if len(pooled) != len(labels):
        raise InputError(
            f"Each image has one label; got {len(pooled)} images and {len(labels)} labels."
        )
    return pooled[labels >= 0], labels[labels >= 0]


def _varying(columns: NDArray[Any]) -> NDArray[np.intp]:
    """The channels that are finite and not constant."""
    if not len(columns):
        return np.empty(0, np.intp)
    return np.flatnonzero(np.isfinite(columns).all(0) & (columns != columns[0]).any(0))


def _blocks(places: NDArray[np.intp], images: int) -> Iterator[NDArray[np.intp]]:
    step = max(1, _CELLS // max(images, 1))
    for start in range(0, len(places), step):
        yield places[start : start + step]


def _order(values: NDArray[Any], rng: np.random.Generator) -> _Ranks:
    """Ranks 1 (the largest) to N of each row (M, N), equal values in random order."""
    order = np.lexsort((rng.random(values.shape), -values))
    ranks = np.empty(values.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(1, values.shape[1] + 1, dtype=np.int32)[None], 1)
    return ranks


def _of_order(ranks: _Ranks, labels: NDArray[np.intp], signed: bool) -> _Doubles:
    """Log odds of the average precision (M, K); ``ranks`` are 1 to N, without ties."""
    found = _precision(ranks, labels)
    if signed:
        found = np.maximum(found, _precision(len(labels) + 1 - ranks, labels))
    return np.asarray(np.log((found + _SURE) / (1 - found + _SURE)))


def _precision(ranks: _Ranks, labels: NDArray[Any]) -> _Doubles:
    """The average precision of each row of ranks on each class.

    Args:
        ranks: (M, N), the number of images that are at least as active, this one included.
        labels: (N,), 0 to K - 1.

    Returns:
        (M, K); NaN for classes without images or without others.
    """
    images = len(labels)
    precision = np.full((len(ranks), int(labels.max()) + 1), np.nan)
    for label, members in enumerate(np.bincount(labels)):
        if not 0 < members < images:
            continue
        own = np.sort(ranks[:, labels == label], 1)
        # Of images that come together, each counts those that come with it.
        hits = np.broadcast_to(np.arange(1.0, members + 1), own.shape).copy()
        hits[:, :-1][own[:, :-1] == own[:, 1:]] = np.inf
        hits = np.minimum.accumulate(hits[:, ::-1], 1)[:, ::-1]
        precision[:, label] = (hits / own).mean(1)
    return precision
