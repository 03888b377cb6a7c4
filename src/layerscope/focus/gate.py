"""Whether heatmaps of a method can be believed for a model: a test by covering parts of images.

If a heatmap tells what the decision depends on, the score must fall sooner when the cells that it
calls most relevant are covered first than when those that it calls least relevant are. The distance
of the two curves is the symmetric relevance gain (SRG, Bluecher 2024); what the covering itself
does to the score is in both and cancels. An edge detector and a spot in the middle of the image are
put to the same test, since a heatmap that does no better than those says nothing of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from layerscope.focus.contract import Array, Doubles, Job
from layerscope.focus.perturbations import scores_of_changed
from layerscope.focus.targets import Indices
from layerscope.measures.intervals import FEWEST, interval
from layerscope.vocabulary import Floats

MOST = 32
"""Images that a method is tested on."""
CELLS = 8
"""Cells along the shorter side of an image."""
SHARES = (0.05, 0.2)
"""How much of an image is covered. What decides may be small: with a third covered, edges alone
have hidden it, too, and nothing more can be told apart."""
RIVALS = ("sobel", "centre")
"""Heatmaps that know nothing of the model: edges of the image, and a spot in the middle."""

Verdict = Literal["believable", "unreliable", "not-tested"]


@dataclass(frozen=True)
class Gain:
    """How much more a heatmap gains than one that knows nothing of the model.

    Attributes:
        over: ``random`` cells or one of `RIVALS`.
        value: mean over images of the difference in SRG, -1 to 1.
        low: the lower end of its 95 % interval over images.
        high: the upper end.
    """

    over: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Gate:
    """Whether a method's heatmaps can be believed for a model.

    Attributes:
        verdict: ``believable`` if the lower end of every gain lies above 0, else ``unreliable``;
            ``not-tested`` where there is no answer.
        reason: why it was not tested; empty otherwise.
        gains: over random cells, edges and centre.
        images: that it was tested on.
        beside: numbers that decide nothing, means over images, as far as there are any:
            ``mosaic_focus`` (chance 0.5), ``other_class`` and ``twin`` (rank correlation with the
            map for another class, and with that of the untrained twin), ``complexity_rise``; see
            `layerscope.focus.sanity`.
    """

    verdict: Verdict
    reason: str = ""
    gains: tuple[Gain, ...] = ()
    images: int = 0
    beside: Mapping[str, float] = field(default_factory=dict)


def sobel(pixels: Array) -> Floats:
    """Strength of the edges in the mean over colours of images (N, H, W, C): (N, H, W)."""
    grey = pixels.mean(-1, dtype=np.float32)
    # One by one: the filter also smooths along every other axis, so across the images of a batch.
    edges = [
        np.hypot(*[ndimage.sobel(one, axis, mode="nearest") for axis in (0, 1)]) for one in grey
    ]
    return np.array(edges, np.float32).reshape(grey.shape)


def centre(size: tuple[int, int]) -> Floats:
    """A Gaussian spot in the middle, a quarter of the shorter side wide: (H, W)."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in size)
    spread = min(size) / 4
    return np.asarray(np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * spread**2)), np.float32)


def rivals(pixels: Array) -> list[Floats]:
    """The heatmaps of `RIVALS` for images (N, H, W, C)."""
    return [sobel(pixels), np.broadcast_to(centre(pixels.shape[1:3]), pixels.shape[:3])]


def ends(job: Job, chosen: Indices) -> Doubles:
    """Score of each image as it is and with everything covered, (N, 2)."""
    fill = _fill(job.pixels)

    def version(i: int, places: Array) -> Array:
        both = np.stack([job.pixels[i], np.broadcast_to(fill[i], job.pixels.shape[1:])])
        return np.asarray(both[places])

    return scores_of_changed(job, chosen, 2, version)


def curves(job: Job, chosen: Indices, heats: Sequence[Floats]) -> Doubles:
    """Scores of images of which parts are covered, the most or the least relevant cells first.

    Cells are covered by the mean colour of the image: its own blur would leave flat parts as they
    are and so make a present to the edge detector.

    Args:
        job: the images.
        chosen: the class of each.
        heats: (N, H, W) each, larger where it speaks for the class.

    Returns:
        (N, heats, shares, 2): with each of `SHARES` covered, the most relevant cells and the least
        relevant ones.
    """
    label, count = _cells(job.size)
    ranks = [_ranks(heat, label, count, job.seed) for heat in heats]
    fill = _fill(job.pixels)
    cuts = [round(share * count) for share in SHARES]
    shape = (len(heats), len(cuts), 2)

    def version(i: int, place: int) -> Array:
        at, step, least = np.unravel_index(place, shape)
        rank, cut = ranks[at][i], cuts[step]
        hidden = rank >= count - cut if least else rank < cut
        return np.asarray(np.where(hidden[label][..., None], fill[i], job.pixels[i]))

    def versions(i: int, places: Array) -> Array:
        return np.stack([version(i, place) for place in places])

    scores = scores_of_changed(job, chosen, int(np.prod(shape)), versions)
    return np.asarray(scores.reshape(len(scores), *shape))


def relevance_gains(ends: Doubles, curves: Doubles) -> Doubles:
    """The SRG of heatmaps, from what `ends` and `curves` give.

    Returns:
        (N, heats), -1 to 1: score with the least relevant cells covered minus that with the most
        relevant ones covered, averaged over the shares, in units of the range of all scores of the
        image; 0 for an image whose score never moves. Random numbers have an expectation of 0.
    """
    spread = np.ptp(np.concatenate([ends, curves.reshape(len(curves), -1)], 1), axis=1)[:, None]
    lead = (curves[..., 1] - curves[..., 0]).mean(2)
    return np.asarray(np.divide(lead, spread, out=np.zeros_like(lead), where=spread > 0))


def judged(gains: Doubles, groups: NDArray[np.int64] | None = None) -> Gate:
    """What follows from the SRG of a method and of `RIVALS`.

    Args:
        gains: (N, 3).
        groups: (N,), equal for copies of one image and crops of one photo, which count as one.
    """
    groups = np.arange(len(gains)) if groups is None else groups
    different = len(np.unique(groups))
    if different < FEWEST:
        few = f"it takes {FEWEST} different images or more, and there are {different}"
        return Gate("not-tested", few, images=different)
    if not gains.any():
        still = "covering parts of these images changes nothing, so that nothing can be tested"
        return Gate("not-tested", still, images=different)
    own = gains[:, :1]
    leads = np.concatenate([own, own - gains[:, 1:]], 1)
    low, high = interval(leads, groups=groups)
    found = tuple(
        Gain(name, float(leads[:, at].mean()), float(low[at]), float(high[at]))
        for at, name in enumerate(("random", *RIVALS))
    )
    return Gate("believable" if (low > 0).all() else "unreliable", "", found, len(gains))


def _fill(pixels: Array) -> Array:
    """The mean colour of each image, (N, 1, 1, C)."""
    return np.asarray(pixels.mean((1, 2), keepdims=True))


def _cells(size: tuple[int, int]) -> tuple[NDArray[np.intp], int]:
    """The cell of each pixel, (H, W), and how many there are."""
    side = max(1, min(size) // CELLS)
    parts = [np.minimum(np.arange(n) // side, max(1, n // side) - 1) for n in size]
    columns = int(parts[1][-1]) + 1
    return parts[0][:, None] * columns + parts[1], (int(parts[0][-1]) + 1) * columns


def _ranks(heat: Floats, label: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Rank of each cell by its mean, 0 for the largest, (N, cells); ties fall by lot."""
    flat = label.ravel()
    sizes = np.bincount(flat, minlength=count)
    found = np.empty((len(heat), count), np.intp)
    lots = np.random.default_rng(seed).permutation(count)
    for row, one in zip(found, heat, strict=True):
        means = np.bincount(flat, one.ravel(), count) / sizes
        row[np.lexsort((lots, -means))] = np.arange(count)
    return found
