"""Patches that the images of a class share and others do not.

Every high-passed patch of some images of a class is searched by normalised cross-correlation in
other images of the class and of other classes. The mean of the copies of the best one is grown to
the mark's own box, and judged on images that took no part in choosing. Only the difference between
inside and outside means anything: simple strokes correlate highly everywhere.

Images above 112 pixels are reduced by a whole factor first, and above 48 pixels the patches are
compared on pixels further apart; the template is then aligned, grown and judged at 112 or less,
and boxes are given in pixels of the images as they came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerscope.images.region import Region
from layerscope.leakage.aligning import Box, grown, mean_of_box
from layerscope.leakage.pool import Pool, pooled
from layerscope.leakage.seeking import Square, Template, highest, sought
from layerscope.vocabulary import Floats

BEST = 0.2
"""Share of the images that the score looks at, so that a mark in a quarter of them counts fully."""
FOUND = 0.3
"""Score from which on copies count as found; 64 clean classes of digits reached at most .25."""
SURE = 0.1
"""What the lower end of its interval exceeds: the best fifth of few images says little."""
_DRAWS = 1000
_SHARED = 0.2
"""Copy share from which on another class may share the mark, if it is half of the class's own."""
_STILL = 1.5
"""Pixels between the quartiles of the places of a mark that stays in one place."""


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Copies:
    """The most suspicious patch of one class; whether it is a copy is for the score to say.

    Places and boxes are in pixels of the images given. All figures come from images that took no
    part in choosing the patch; ``images`` and ``places`` hold those that did as well.

    Attributes:
        label: class index.
        score: mean best correlation of the best fifth of the images of the class, less that of
            the images of other classes; -1 to 1, about 0 without a mark.
        lead: the same with all images instead of the best fifth.
        p: one-sided, of the score, by bootstrap over images; not corrected for many classes.
        inside: share of the images of the class that carry the mark, 0 to 1.
        outside: share of the images of other classes that do.
        cutoff: correlation from which on an image counts as a carrier.
        judged: number of images inside and outside that the figures come from.
        box: x0, y0, x1, y1 of the mark in the carriers, the median; see ``fixed``.
        fixed: whether the mark lies at one place in most carriers.
        images: (n,), positions of the images of the class that were looked at.
        places: (n, 4), the box in each of them, x0, y0, x1, y1.
        similarity: (n,), best correlation in each.
        carries: (n,), whether it reaches the cutoff.
        mark: (h, w, C), mean of the carriers' pixels in the box.
        template: (h, w, C), high-passed, what was searched, in pixels of the reduced images.
        shared: other classes whose images carry the mark; they are not part of the outside.
    """

    label: int
    score: Interval
    lead: Interval
    p: float
    inside: float
    outside: float
    cutoff: float
    judged: tuple[int, int]
    box: tuple[int, int, int, int]
    fixed: bool
    images: NDArray[np.int64] = field(repr=False)
    places: NDArray[np.int64] = field(repr=False)
    similarity: Floats = field(repr=False)
    carries: NDArray[np.bool_] = field(repr=False)
    mark: Floats = field(repr=False)
    template: Floats = field(repr=False)
    shared: tuple[int, ...] = ()

    @property
    def found(self) -> bool:
        """Whether copies are there: a score of `FOUND` whose interval lies above `SURE`."""
        return self.score.value >= FOUND and self.score.low > SURE


def find_copies(
    images: Floats,
    labels: Any,
    classes: Sequence[int] | None = None,
    seed: int = 0,
    pool: Pool | None = None,
    places: Mapping[int, Sequence[Region]] | None = None,
    everywhere: bool = True,
) -> tuple[Copies, ...]:
    """Search the patch of each class that recurs most inside against outside.

    Args:
        images: (N, H, W, C), raw pixels at the size that the model sees, of any range;
            near-duplicates taken out (`layerscope.leakage.duplicates`).
        labels: (N,), from 0; -1 where unknown.
        classes: which to search; default all with at least `layerscope.leakage.pool.FEWEST`
            images.
        seed: of the choice of images and of the bootstrap.
        pool: the same images, where they were prepared before.
        places: by class, where something else suggests a mark; patches from there are candidates
            like all others.
        everywhere: search the whole images; else only patches from those places are tried.

    Returns:
        One per class searched, in their order.

    Raises:
        InputError: see `layerscope.leakage.pool.pooled`.
    """
    pool = pool or pooled(images, labels, seed)
    wanted = sorted(pool.choosing) if classes is None else classes
    found = [
        copies_of(pool, int(name), seed, (places or {}).get(int(name), ()), everywhere)
        for name in wanted
        if int(name) in pool.choosing
    ]
    return tuple(_at_full_size(one, images, pool.factor) for one in found)


def copies_of(
    pool: Pool, name: int, seed: int = 0, places: Sequence[Region] = (), everywhere: bool = True
) -> Copies:
    """Search one class of a pool; boxes are in pixels of the pool."""
    template = sought(pool, name, [_square(pool, place) for place in places], everywhere)
    judges = pool.judging[name]
    own = pool.bank(judges).best(template.fine)[0]
    away = pool.jury.bank.best(template.fine)[0]
    labels = pool.jury.labels
    shared = _sharing(labels, name, template, own, away)
    score, p, rest = _against(own, away, labels, [name, *shared], seed)
    if score.value < FOUND:  # nothing to share
        shared = ()
        score, p, rest = _against(own, away, labels, [name], seed)
    away = rest
    carries = own >= template.cutoff
    lead = _judged(own, away, 1, np.random.default_rng(seed))[0]
    shares = float(carries.mean()), float((away >= template.cutoff).mean())
    found = _located(pool, name, template, shares)
    return replace(found, score=score, lead=lead, p=p, judged=(len(own), len(away)), shared=shared)


def _square(pool: Pool, place: Region) -> Square:
    """The square in the middle of a part of the image, at most half of it long."""
    height, width = pool.images.shape[1:3]
    x0, y0, x1, y1 = place
    sides = (y1 - y0) * height, (x1 - x0) * width
    side = int(np.clip(round(min(sides)), 4, min(height, width) // 2))
    upper = (y0 + y1) * height / 2 - side / 2, (x0 + x1) * width / 2 - side / 2
    y, x = (
        max(0, min(round(at), end - side)) for at, end in zip(upper, (height, width), strict=True)
    )
    return Square(y, x, side)


def _against(
    own: NDArray[Any], away: NDArray[Any], labels: NDArray[Any], without: Sequence[int], seed: int
) -> tuple[Interval, float, NDArray[Any]]:
    """The score against classes but some, its p value, and the correlations in these classes."""
    rest = away[~np.isin(labels, without)]
    return *_judged(own, rest, BEST, np.random.default_rng(seed)), rest


def _sharing(
    labels: NDArray[Any], name: int, template: Template, own: NDArray[Any], away: NDArray[Any]
) -> tuple[int, ...]:
    """Other classes with the mark; none where most have it, for then it tells nothing."""
    least = max(_SHARED, float((own >= template.cutoff).mean()) / 2)
    names = [int(other) for other in np.unique(labels) if other != name]
    found = [other for other in names if (away[labels == other] >= template.cutoff).mean() >= least]
    return tuple(found) if 2 * (len(found) + 1) <= len(names) + 1 else ()


def _judged(
    own: NDArray[Any], away: NDArray[Any], share: float, random: np.random.Generator
) -> tuple[Interval, float]:
    """The lead of the best share inside, with its interval and p value over resampled images."""
    drawn = [
        highest(values[random.integers(0, len(values), (_DRAWS, len(values)))], share)
        for values in (own, away)
    ]
    leads = drawn[0] - drawn[1]
    low, high = np.quantile(leads, (0.025, 0.975))
    value = float(highest(own, share) - highest(away, share))
    return Interval(value, float(low), float(high)), float((1 + (leads <= 0).sum()) / (1 + _DRAWS))


def _located(pool: Pool, name: int, template: Template, shares: tuple[float, float]) -> Copies:
    """The mark in all images of the class that were looked at, its box grown once more on them."""
    looked = np.concatenate([pool.choosing[name], pool.judging[name]])
    bank, raw = pool.bank(looked), pool.images[looked]
    similarity, places = bank.best(template.fine)
    size = template.fine.shape[:2]
    carries = similarity >= template.cutoff
    sure = carries if carries.sum() >= 3 else similarity >= np.sort(similarity)[-3]
    box = grown(bank.fine[sure], raw[sure], places[sure], size, pool.faint)
    box = box or Box(0, 0, *size)
    upper = places + np.array([box.y, box.x])
    boxes = np.column_stack([upper[:, ::-1], upper[:, ::-1] + (box.width, box.height)])
    spread = np.subtract(*np.quantile(upper[sure], (0.75, 0.25), axis=0)).max()
    nothing = Interval(0, 0, 0)
    return Copies(
        name, nothing, nothing, 1.0, *shares, template.cutoff, (0, 0),
        _four(np.median(boxes[sure], 0)), bool(spread <= _STILL),
        looked, boxes, similarity, carries,
        mean_of_box(raw[sure], places[sure], size, box), template.fine,
    )  # fmt: skip


def _four(box: NDArray[Any]) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(end) for end in box.tolist())
    return x0, y0, x1, y1


def _at_full_size(found: Copies, images: Floats, factor: int) -> Copies:
    """Boxes in pixels of the images given, and the mark at their resolution."""
    places = np.clip(found.places * factor, 0, [*images.shape[2:0:-1]] * 2)
    if factor == 1:
        return replace(found, places=places)
    box = _four(np.array(found.box) * factor)
    size = box[3] - box[1], box[2] - box[0]
    at = np.flatnonzero(found.carries) if found.carries.any() else np.arange(len(found.images))
    uppers = (found.places[at] * factor)[:, 1::-1]
    mark = mean_of_box(images[found.images[at]], uppers, size, Box(0, 0, *size))
    return replace(found, places=places, box=box, mark=mark)
