"""Which images choose patches and which judge them, prepared once for the search of every class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.leakage.windows import Bank, faintest, high_passed, unit_windows
from layerscope.vocabulary import Floats

Numbers = NDArray[np.int64]

FEWEST = 8
"""Images of a class below which it is not searched."""
_CHOOSING, _JUDGING = 50, 150
"""Most images of a class that choose patches, and that judge them."""
_OUTSIDE, _PER_CLASS, _CLASSES = 100, 8, 40
"""Images of other classes: at least so many, so many of each, and of at most so many classes."""
_LARGEST = 112
"""Side in pixels above which images are reduced by a whole factor."""
_COARSE = 48
"""Side above which patches are searched on pixels further apart, see `high_passed`."""
_SIDES = (6, 4)
"""Parts of the side of the image that a patch is long: small marks, and faint larger ones."""


@dataclass(frozen=True)
class Outside:
    """Images of many classes, ready to be searched.

    Attributes:
        labels: (M,).
        bank: their high-passed pixels.
        windows: by side of the patch, (M, P, D); empty for those that judge.
    """

    labels: Numbers
    bank: Bank
    windows: Mapping[int, Floats]


@dataclass(frozen=True)
class Pool:
    """Images and their parts in the search.

    Attributes:
        images: (N, H, W, C), reduced where they are large.
        labels: (N,).
        factor: by how much they are reduced.
        scale: pixels between those of a patch.
        faint: contrast that means nothing.
        choosing: by class, images that choose patches.
        judging: by class, other images, which judge them.
        outside: of many classes, some that choose.
        jury: of many classes, some that judge.
    """

    images: Floats
    labels: Numbers
    factor: int
    scale: int
    faint: float
    choosing: Mapping[int, Numbers]
    judging: Mapping[int, Numbers]
    outside: Outside
    jury: Outside

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the patches, in pixels ``scale`` apart."""
        side = min(self.images.shape[1:3])
        return tuple(sorted({max(4, round(side / part / self.scale)) for part in _SIDES}))

    def bank(self, places: Sequence[int] | Numbers) -> Bank:
        """Some images, high-passed at full resolution."""
        return Bank.of(high_passed(self.images[places]), self.faint)

    def windows(self, places: Sequence[int] | Numbers, side: int, step: int) -> Floats:
        """Normalised windows of some images, (n, rows, columns, D)."""
        fine = high_passed(self.images[places], self.scale)
        return unit_windows(fine, side, step, self.faint, self.scale)

    def replaced(self, places: Numbers, images: Floats) -> "Pool":
        """The same pool with other pixels in images of one class, to search that class again.

        Args:
            places: of the images.
            images: (n, H, W, C) in the size of the pool.
        """
        changed = self.images.copy()
        changed[places] = images
        return replace(self, images=changed)


def reduced(images: Floats, factor: int) -> Floats:
    """Means of blocks of ``factor`` x ``factor`` pixels; what is left at the ends is cut."""
    if factor == 1:
        return np.asarray(images, np.float32)
    count, height, width, channels = images.shape
    rows, columns = height // factor, width // factor
    blocks = images[:, : rows * factor, : columns * factor]
    blocks = blocks.reshape(count, rows, factor, columns, factor, channels)
    return np.asarray(blocks.mean((2, 4)), np.float32)


def pooled(images: Floats, labels: Any, seed: int = 0) -> Pool:
    """Prepare images for the search.

    Args:
        images: (N, H, W, C), at least 16 x 16, of any range; near-duplicates taken out.
        labels: (N,), from 0; -1 where unknown, which are left out.
        seed: of the choice of images.

    Raises:
        InputError: sizes that do not fit, values that are not finite, or fewer than two classes
            with `FEWEST` images.
    """
    labels = np.asarray(labels, np.int64)
    _check(images, labels)
    side = min(images.shape[1:3])
    factor = -(-side // _LARGEST)
    small = reduced(images, factor)
    if not np.isfinite(small).all():
        raise InputError("Images hold finite numbers; some are NaN or infinite. Leave them out.")
    random = np.random.default_rng(seed)
    choosing, judging = {}, {}
    for name, count in zip(*np.unique(labels[labels >= 0], return_counts=True), strict=True):
        if count >= FEWEST:
            places = random.permutation(np.flatnonzero(labels == name))
            size = min(_CHOOSING, count // 2)
            choosing[int(name)], judging[int(name)] = np.split(places[: size + _JUDGING], [size])
    if len(choosing) < 2:
        raise InputError(
            f"Copies are searched in at least two classes of {FEWEST} images each; got "
            f"{len(choosing)}. Give labels, or more images."
        )
    scale = -(-(side // factor) // _COARSE)
    empty = Outside(labels[:0], Bank.of(small[:0], 1), {})
    faint = faintest(small)
    pool = Pool(small, labels, factor, scale, faint, choosing, judging, empty, empty)
    panels = random.permutation(sorted(choosing))[:_CLASSES].tolist()
    return replace(
        pool,
        outside=_outside(pool, _spread(choosing, panels), True),
        jury=_outside(pool, _spread(judging, panels), False),
    )


def _check(images: Floats, labels: Numbers) -> None:
    fits = images.ndim == 4 and labels.shape == images.shape[:1]
    if not fits or min(images.shape[1:3]) < 16:
        raise InputError(
            "Copies are searched in images (N, H, W, C) of at least 16 x 16 pixels with one label "
            f"each; got images of shape {images.shape} and labels of shape {labels.shape}."
        )


def _spread(sets: Mapping[int, Numbers], names: Sequence[int]) -> Numbers:
    """The first few of each class."""
    each = max(_PER_CLASS, -(-_OUTSIDE // (len(names) - 1)))
    return np.concatenate([sets[name][:each] for name in names])


def _outside(pool: Pool, places: Numbers, searched: bool) -> Outside:
    windows: dict[int, Floats] = {}
    for side in pool.sides if searched else ():
        found = pool.windows(places, side, pool.scale)
        windows[side] = found.reshape(len(found), -1, found.shape[-1])
    return Outside(pool.labels[places], pool.bank(places), windows)
