"""Numbers that are printed beside a heatmap and decide nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from layerscope.focus.contract import Array, Doubles, Job
from layerscope.focus.heat import resampled
from layerscope.focus.targets import Indices
from layerscope.images.resize import resize
from layerscope.vocabulary import Floats

MOST = 8
"""Images, or mosaics of images, that the costlier numbers are measured on."""
_BINS = 100

Run = Callable[[Job], Floats]
"""A method: from a job to maps (N, h, w)."""


def few(job: Job) -> Job:
    """The first `MOST` images of a job."""
    return replace(job, inputs=[x[:MOST] for x in job.inputs], index=job.index[:MOST])


def resemblance(maps: Floats, others: Floats) -> Doubles:
    """Rank correlation (Spearman) of two maps of each image, (N,), -1 to 1; NaN for a flat one."""
    return np.array([_correlation(a, b) for a, b in zip(maps, others, strict=True)], np.float64)


def _correlation(a: Floats, b: Floats) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def complexity_rise(maps: Floats, of_twin: Floats) -> Doubles:
    """How much more complex a map is with fresh weights, (N,), -1 to 1; above 0 speaks for it.

    After efficient MPRT (Hedstroem 2024). Complexity is the entropy of the histogram of the map;
    the difference is divided by the largest possible one, since divided by the map's own it has no
    bound.
    """
    return np.asarray((_complexity(of_twin) - _complexity(maps)) / np.log(_BINS))


def _complexity(maps: Floats) -> Doubles:
    found = np.zeros(len(maps))
    for at, one in enumerate(maps):
        counts = np.histogram(one, _BINS)[0] if np.ptp(one) > 0 else np.array([one.size])
        shares = counts[counts > 0] / one.size
        found[at] = -(shares * np.log(shares)).sum()
    return found


def other_class(job: Job, chosen: Indices, maps: Floats, run: Run) -> Doubles:
    """Resemblance of the maps to those for another class drawn at random (random logit, Sixt 2020).

    Near 1 where a method shows the same whatever class it is asked about. Empty where there are no
    two classes.
    """
    classes = job.explained.classes
    if classes < 2:
        return np.empty(0)
    steps = np.random.default_rng(job.seed).integers(1, classes, len(chosen))
    return resemblance(maps, run(replace(job, index=(chosen + steps) % classes)))


def mosaic_focus(job: Job, chosen: Indices, run: Run) -> Doubles:
    """Share of the positive evidence that lies on the right images of a mosaic (Arias-Duart 2022).

    A mosaic has two images that are predicted as one class and two that are not, each at half its
    size; it is explained for that class. Chance is 0.5. Of at most `MOST` mosaics; empty where all
    images are predicted alike, or have no halves.
    """
    if len(np.unique(chosen)) < 2 or chosen.min(initial=0) < 0 or min(job.size) < 2:
        return np.empty(0)
    random = np.random.default_rng(job.seed)
    picks = random.permutation(len(chosen))[:MOST]
    tiles = [_tiles(chosen, int(pick), random) for pick in picks]
    mosaics = np.stack([_mosaic(job.pixels, order) for order, _ in tiles])
    inputs = [mosaics if i == job.image else x[picks] for i, x in enumerate(job.inputs)]
    maps = resampled(run(replace(job, inputs=inputs, index=chosen[picks])), job.size)
    found = np.array([_share(one, own) for one, (_, own) in zip(maps, tiles, strict=True)])
    return np.asarray(found[np.isfinite(found)], np.float64)


def _tiles(chosen: Indices, pick: int, random: np.random.Generator) -> tuple[Indices, np.ndarray]:
    """Which image lies in each quarter, and which quarters are of the class of ``pick``."""
    same = np.flatnonzero(chosen == chosen[pick])
    mates = same[same != pick]
    mate = random.choice(mates) if len(mates) else pick
    others = random.choice(np.flatnonzero(chosen != chosen[pick]), 2)
    places = random.permutation(4)
    order = np.array([pick, mate, *others])[places]
    return order, places < 2


def _mosaic(pixels: Array, order: Indices) -> Array:
    height, width = pixels.shape[1:3]
    sizes = [(h, w) for h in _halves(height) for w in _halves(width)]
    quarters = [
        resize(np.asarray(pixels[i], np.float32), size)
        for i, size in zip(order, sizes, strict=True)
    ]
    return np.concatenate([np.concatenate(quarters[:2], 1), np.concatenate(quarters[2:], 1)])


def _halves(side: int) -> tuple[int, int]:
    return side // 2, side - side // 2


def _share(one: Floats, own: np.ndarray) -> float:
    top, left = one.shape[0] // 2, one.shape[1] // 2
    parts = (one[:top, :left], one[:top, left:], one[top:, :left], one[top:, left:])
    positive = np.array([np.maximum(part, 0).sum(dtype=np.float64) for part in parts])
    return float(positive[own].sum() / positive.sum()) if positive.sum() > 0 else float("nan")
