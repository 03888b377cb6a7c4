"""How faint and how rare a mark the search of copies would have found in these very images.

A synthetic mark is planted into the images of one class, and the search runs as before.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.leakage.copies import Copies, copies_of
from layerscope.leakage.pool import Pool
from layerscope.measures.intervals import wilson
from layerscope.vocabulary import Floats

_OVERLAP = 0.25
"""Share of its planted place that a found box covers, over the union, to count."""


@dataclass(frozen=True)
class Power:
    """How often a planted mark was found.

    Attributes:
        label: class that it was planted into.
        size: of the mark, share of the side of the image.
        opacity: 0 to 1.
        prevalence: share of the images of the class that got it.
        found: how often the search found copies, at the planted place.
        trials: how often it was planted.
        low, high: ends of the 95 % interval of the share found (Wilson 1927).
    """

    label: int
    size: float
    opacity: float
    prevalence: float
    found: int
    trials: int
    low: float
    high: float


def search_power(
    pool: Pool,
    label: int,
    *,
    size: float = 0.2,
    opacity: float = 0.5,
    prevalence: float = 1.0,
    trials: int = 5,
    seed: int = 0,
) -> Power:
    """Plant a mark of drawn strokes at a free place of each image of one class and search it.

    Every trial draws another mark, other carriers and other places.

    Args:
        pool: the images, as `layerscope.leakage.pool.pooled` prepares them.
        label: a class of the pool.
        size: side of the mark, share of the side of the image.
        opacity: of the mark.
        prevalence: share of the images of the class that get it.
        trials: how often.
        seed: of the marks and places.

    Raises:
        InputError: shares outside 0 to 1, no trial, or a class that the pool does not have.
    """
    if not all(0 < share <= 1 for share in (size, opacity, prevalence)) or trials < 1:
        raise InputError(
            "Size, opacity and prevalence of a mark lie above 0 and up to 1, and it is planted at "
            f"least once; got {size}, {opacity}, {prevalence} and {trials} trials."
        )
    if label not in pool.choosing:
        raise InputError(f"Class {label} has too few images to be searched; take another class.")
    random = np.random.default_rng((seed, label))
    hits = sum(_trial(pool, label, size, opacity, prevalence, random) for _ in range(trials))
    return Power(label, size, opacity, prevalence, hits, trials, *wilson(hits, trials))


def stroke_mark(side: int, channels: int, random: np.random.Generator) -> Floats:
    """A square of half black and half white strokes, float32 (side, side, channels), 0 or 1."""
    mark = np.zeros((side, side), np.float32)
    thick = max(1, side // 8)
    while mark.mean() < 0.4:
        at, start = random.integers(0, max(1, side - thick), 2)
        stroke = np.s_[at : at + thick, start:]
        (mark if random.random() < 0.5 else mark.T)[stroke] = 1
    return np.repeat(mark[..., None], channels, -1)


def _trial(
    pool: Pool,
    label: int,
    size: float,
    opacity: float,
    prevalence: float,
    random: np.random.Generator,
) -> bool:
    looked = np.concatenate([pool.choosing[label], pool.judging[label]])
    carriers = random.permutation(looked)[: max(1, round(prevalence * len(looked)))]
    images = pool.images[carriers].copy()
    side = max(3, round(size * min(images.shape[1:3])))
    low, high = np.quantile(pool.images[:: max(1, len(pool.images) // 64)], (0.001, 0.999))
    mark = low + (high - low) * stroke_mark(side, images.shape[-1], random)
    places = random.integers(0, np.array(images.shape[1:3]) - side + 1, (len(images), 2))
    for image, (y, x) in zip(images, places, strict=True):
        under = image[y : y + side, x : x + side]
        under += opacity * (mark - under)
    found = copies_of(pool.replaced(carriers, images), label)
    return found.found and _on(found, carriers, places, side)


def _on(found: Copies, carriers: NDArray[Any], places: NDArray[Any], side: int) -> bool:
    """Whether the found boxes lie on the planted ones in most of the carriers found."""
    planted = dict(zip(carriers.tolist(), places.tolist(), strict=True))
    hits = [
        at in planted and _union(box, planted[at], side) >= _OVERLAP
        for at, box, carries in zip(
            found.images.tolist(), found.places.tolist(), found.carries, strict=True
        )
        if carries
    ]
    return bool(hits) and float(np.mean(hits)) >= 0.5


def _union(box: list[int], place: list[int], side: int) -> float:
    """Intersection of a box with a square, over their union."""
    width = min(box[2], place[1] + side) - max(box[0], place[1])
    height = min(box[3], place[0] + side) - max(box[1], place[0])
    common = max(0, width) * max(0, height)
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + side**2 - common)
