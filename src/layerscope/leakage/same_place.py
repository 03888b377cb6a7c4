"""Where the images of a class repeat the same window at the same place, more than other images do.

A nominator and never a verdict: fixed marks reach .8 and more, but so can centred objects.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.leakage.pool import reduced
from layerscope.leakage.windows import faintest, high_passed, unit_windows
from layerscope.vocabulary import Floats

_WINDOW = 6
"""Parts of the side of the image that a window is long."""
_WINDOWS = 32
"""Most windows in a row."""
_LARGEST = 112
_BATCH = 16


@dataclass(frozen=True)
class SamePlace:
    """How much more alike the windows at one place are within a class than across classes.

    Attributes:
        label: class index.
        map: float32 (rows, columns), mean correlation of all pairs within the class less that of
            pairs with images of other classes, -1 to 2, about 0 without a mark.
        box: x0, y0, x1, y1 in pixels of the highest window.
        value: of the map there.
    """

    label: int
    map: Floats
    box: tuple[int, int, int, int]
    value: float


def same_place(images: Floats, labels: Any) -> tuple[SamePlace, ...]:
    """The map of each class with at least two images.

    Mean correlations of all pairs come from sums: for unit vectors v_1 .. v_n it is
    (|sum v|^2 - sum |v|^2) / (n (n - 1)), and across two classes the product of their means.

    Args:
        images: (N, H, W, C), raw pixels, near-duplicates taken out.
        labels: (N,), from 0; -1 where unknown.

    Raises:
        InputError: another shape, or fewer than two classes with two images each.
    """
    labels = np.asarray(labels, np.int64)
    names, counts = np.unique(labels[labels >= 0], return_counts=True)
    names, counts = names[counts > 1], counts[counts > 1]
    if images.ndim != 4 or labels.shape != images.shape[:1] or len(names) < 2:
        raise InputError(
            "A map of places compares at least two classes of two images (N, H, W, C) with one "
            f"label each; got shape {images.shape} and {len(names)} such classes."
        )
    factor = -(-min(images.shape[1:3]) // _LARGEST)
    faint = faintest(images)
    shortest = min(images.shape[1:3]) // factor
    side = max(4, round(shortest / _WINDOW))
    step = max(1, (max(images.shape[1:3]) // factor - side) // _WINDOWS + 1)
    sums, squares = zip(
        *(_sums(images[labels == name], factor, side, step, faint) for name in names), strict=True
    )
    total = np.sum(sums, 0)
    return tuple(
        _map(int(name), own, square, int(count), total - own, int(counts.sum() - count), place)
        for name, own, square, count, place in zip(
            names, sums, squares, counts, [(side * factor, step * factor)] * len(names), strict=True
        )
    )


def _sums(
    images: Floats, factor: int, side: int, step: int, faint: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the unit vectors at each place, (rows, columns, D), and of their squared lengths."""
    sums: Any = 0.0
    squares: Any = 0.0
    for at in range(0, len(images), _BATCH):
        fine = high_passed(reduced(images[at : at + _BATCH], factor))
        windows = unit_windows(fine, side, step, faint)
        sums = sums + windows.sum(0, dtype=np.float64)
        squares = squares + np.einsum("nrcd,nrcd->rc", windows, windows)
    return sums, squares


def _map(
    name: int,
    own: NDArray[Any],
    squares: NDArray[Any],
    count: int,
    rest: NDArray[Any],
    others: int,
    place: tuple[int, int],
) -> SamePlace:
    side, step = place
    within = ((own**2).sum(-1) - squares) / (count * (count - 1))
    across = (own * rest).sum(-1) / (count * others)
    found = (within - across).astype(np.float32)
    y, x = (int(end) * step for end in np.unravel_index(int(found.argmax()), found.shape))
    return SamePlace(name, found, (x, y, x + side, y + side), float(found.max()))
