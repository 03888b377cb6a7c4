"""Methods that change the image, or the maps of a layer, and look at what the model says."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from layerscope.errors import InputError
from layerscope.focus.cams import maps_of, tensor_of, weighted
from layerscope.focus.contract import NOISE, Array, Doubles, Found, Job, nothing
from layerscope.focus.places import is_bottleneck
from layerscope.images.resize import resize

_CELLS = 8
"""Patches of an occlusion along the shorter side of an image, unless a size is given."""


def occlusion(job: Job) -> Found:
    """By how much the score falls where a patch is covered (Zeiler and Fergus 2014).

    The centres of the patches lie on a grid of one cell per ``stride`` pixels; a value belongs to
    the centre of its cell. At the border the patches are smaller.
    """
    patch = job.parameters["patch"] or max(1, min(job.size) // _CELLS)
    stride = job.parameters["stride"] or max(1, patch // 2)
    _check_fits(job, patch=patch, stride=stride)
    rows, columns = (_spans(side, patch, stride) for side in job.size)
    covers = [(r, c) for r in rows for c in columns]
    base = nothing(job)

    def covered(i: int, places: Array) -> Array:
        images = np.repeat(job.pixels[i : i + 1], len(places), 0)
        for image, place in zip(images, places, strict=True):
            part = covers[place]
            image[part] = base[i][part]
        return images

    score, chosen, floor = _as_they_are(job)
    falls = score[:, None].astype(np.float64) - scores_of_changed(job, chosen, len(covers), covered)
    return Found(falls.reshape(-1, len(rows), len(columns)), score, chosen, floor)


def _check_fits(job: Job, **sizes: int) -> None:
    """Refuse what is larger than the image."""
    for name, size in sizes.items():
        if size > max(job.size):
            raise InputError(
                f"{name} is at most the longer side of the images, {max(job.size)} pixels as the "
                f"model sees them ({job.size[0]} × {job.size[1]}); got {size}."
            )


def _spans(side: int, patch: int, stride: int) -> list[slice]:
    """The part of an axis that the patch at each cell of the grid covers."""
    cells = -(-side // stride)
    starts = np.floor((np.arange(cells) + 0.5) * side / cells - patch / 2 + 0.5).astype(int)
    return [slice(max(0, int(s)), min(side, int(s) + patch)) for s in starts]


def rise(job: Job) -> Found:
    """How much higher than its mean the score is where a pixel is shown (RISE, Petsiuk 2018).

    The paper's estimate of E[f | pixel shown], divided by how much of the pixel the masks showed
    rather than by its expectation, which would draw the pattern of the masks wherever f is large;
    minus the mean of f over all masks.
    """
    height, width = job.size
    masks = _masks(job)
    base = nothing(job)
    score, chosen, floor = _as_they_are(job)

    def shown(i: int, places: Array) -> Array:
        part = masks(int(places[0]), int(places[-1]) + 1)[..., None]
        return np.asarray(base[i] + part * (job.pixels[i] - base[i]))

    count = job.parameters["masks"]
    scores = np.zeros((len(score), count))
    sums, cover = np.zeros((len(score), height * width)), np.zeros(height * width)
    for places, block in _blocks(job, chosen, count, shown):
        part = masks(int(places[0]), int(places[-1]) + 1).reshape(len(places), -1)
        scores[:, places] = block
        sums += block @ part.astype(np.float64)
        cover += part.sum(0, dtype=np.float64)
    raw = np.divide(sums, cover, out=np.zeros_like(sums), where=cover > 0)
    raw -= scores.mean(1, keepdims=True) * (cover > 0)
    raw[np.ptp(scores, axis=1) <= floor] = 0
    return Found(raw.reshape(-1, height, width), score, chosen)


def _masks(job: Job) -> Callable[[int, int], Array]:
    """A function that gives the masks of a range of numbers, float32 (b, H, W)."""
    cells, share = job.parameters["cells"], job.parameters["share"]
    sides = np.array(job.size)
    cell = -(-sides // cells)
    random = np.random.default_rng(job.seed)
    count = job.parameters["masks"]
    grids = random.random((count, cells, cells), np.float32) < share
    shifts = random.integers(0, cell, (count, 2))
    large = tuple(int(side) for side in (cells + 1) * cell)

    @lru_cache(maxsize=1)
    def masks(start: int, stop: int) -> Array:
        stacked = np.moveaxis(grids[start:stop].astype(np.float32), 0, -1)
        wide = np.moveaxis(resize(np.ascontiguousarray(stacked), (large[0], large[1])), -1, 0)
        return np.stack(
            [
                mask[top : top + sides[0], left : left + sides[1]]
                for mask, (top, left) in zip(wide, shifts[start:stop], strict=True)
            ]
        )

    return masks


def score_cam(job: Job) -> Found:
    """The maps of a layer, weighted by the score of the image seen through each (Wang 2020).

    As in algorithm 1 of the paper: maps are stretched to 0..1 and enlarged, the image is multiplied
    by them (faded to the baseline), and the weights are the softmax over the maps of the scores. A
    constant map shows nothing of the image, and where no map changes the score none has a weight.
    """
    maps, values, score, chosen = maps_of(job)
    low = maps.min((1, 2), keepdims=True)
    spread = np.ptp(maps, (1, 2), keepdims=True)
    seen = np.divide(maps - low, spread, out=np.zeros_like(maps), where=spread > 0)
    base = nothing(job)

    def through(i: int, places: Array) -> Array:
        part = np.ascontiguousarray(seen[i][..., places])
        masks = np.moveaxis(resize(part, job.size), -1, 0)[..., None]
        return np.asarray(base[i] + masks * (job.pixels[i] - base[i]))

    scores = scores_of_changed(job, chosen, maps.shape[-1], through)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    weights[np.abs(scores - score[:, None]).max(1) <= _rounding(values)] = 0
    return _of_weights(job, maps, weights, score, chosen)


def ablation_cam(job: Job) -> Found:
    """The maps of a layer, weighted by how far the score falls without each (Desai 2020).

    The fall is not divided by the score, as it is in the paper: that only scales a heatmap, and
    turns it round where a logit is negative.
    """
    maps, values, score, chosen = maps_of(job)
    explained, tensor = job.explained, tensor_of(job)
    whole = is_bottleneck(explained, tensor)
    nobody = [x[:0] for x in job.inputs]
    scores = np.zeros((len(maps), maps.shape[-1]), np.float64)
    for i in range(len(maps)):
        for start in range(0, scores.shape[1], job.rows):
            places = np.arange(start, min(start + job.rows, scores.shape[1]))
            without = np.repeat(maps[i : i + 1], len(places), 0)
            without[np.arange(len(places)), ..., places] = 0
            # Behind a layer that everything passes, the images are not needed again.
            inputs = (
                nobody
                if whole
                else job.changed(i, np.repeat(job.pixels[i : i + 1], len(places), 0))
            )
            index = np.repeat(chosen[i : i + 1], len(places))
            (found,) = explained.ask(inputs, index, [explained.score], {tensor: without})
            scores[i, places] = found
    falls = score[:, None].astype(np.float64) - scores
    falls[np.abs(falls) <= _rounding(values)[:, None]] = 0
    return _of_weights(job, maps, falls, score, chosen)


def _of_weights(job: Job, maps: Array, weights: Doubles, score: Array, chosen: Array) -> Found:
    raw, floor = np.empty(maps.shape[:3]), np.empty(len(maps))
    for i in range(len(maps)):
        one, weight = maps[i : i + 1].astype(np.float64), weights[i, None, None, None]
        raw[i : i + 1], floor[i : i + 1] = weighted(one, weight, job.parameters["relu"])
    return Found(raw, score, chosen, floor)


def _as_they_are(job: Job) -> tuple[Array, Array, Doubles]:
    """Score and class of the images, and the size of rounding errors in the score."""
    explained = job.explained
    values, score, chosen = job.ask([explained.values, explained.score, explained.chosen])
    return score, chosen, _rounding(values)


def _rounding(values: Array) -> Doubles:
    return np.asarray(NOISE * np.abs(values).reshape(len(values), -1).max(1), np.float64)


def scores_of_changed(
    job: Job, chosen: Array, count: int, changed: Callable[[int, Array], Array]
) -> Doubles:
    """Scores (N, count) of changed versions of each image, see `_blocks`."""
    return np.concatenate([block for _, block in _blocks(job, chosen, count, changed)], 1)


def _blocks(
    job: Job, chosen: Array, count: int, changed: Callable[[int, Array], Array]
) -> Iterator[tuple[Array, Doubles]]:
    """Scores of changed versions of each image, as many versions at a time as a pass holds.

    Args:
        job: the images.
        chosen: the class of each.
        count: how many versions each has.
        changed: gives versions of an image, by its position and theirs.

    Yields:
        Positions of some versions, (b,), and their scores, (N, b).
    """
    explained = job.explained
    for start in range(0, count, job.rows):
        places = np.arange(start, min(start + job.rows, count))
        block = np.empty((len(job.pixels), len(places)), np.float64)
        for i in range(len(block)):
            index = np.repeat(chosen[i : i + 1], len(places))
            inputs = job.changed(i, changed(i, places))
            block[i] = explained.ask(inputs, index, [explained.score])[0]
        yield places, block
