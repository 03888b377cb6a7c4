"""The channels of a layer, one after the other held at a value, on batches of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from layerscope.focus.contract import NOISE
from layerscope.focus.targets import Indices
from layerscope.interventions.ablation import UNCHANGED, Cut, ablated, cut_at
from layerscope.measures.vitality import NEGLIGIBLE, flat, relative_range
from layerscope.vocabulary import Floats

Array = np.ndarray
Doubles = NDArray[np.float64]
Places = NDArray[np.intp]

_DEVIATION = 4
"""Rounding may be so many times as large as what two computations of the same images differ by."""
_TINY = 1e-30
_STEPS = (1, 4)
"""Images after which the channels that changed something are left out."""


@dataclass(frozen=True)
class Seen:
    """One batch of images, and the maps of a layer in short.

    Attributes:
        cut: the layer.
        inputs: for the model, batch first.
        index: class per image, (n,), fixed.
        score: (n,), the explained number.
        total: (C,), the sum of each channel over images and places.
        pixels: how many values each sum has.
        low: (C,), the lowest value of each channel.
        high: (C,), the highest.
        maxima: (n, C), the highest value of each map.
        places: (n, C, 2), the row and column where it is.
    """

    cut: Cut
    inputs: Sequence[Array]
    index: Indices
    score: Floats
    total: Doubles
    pixels: int
    low: Floats
    high: Floats
    maxima: Floats
    places: NDArray[np.int64]


def see(cut: Cut, inputs: Sequence[Array], index: Indices) -> Seen:
    """Look at the maps of a layer, and fix the class of each image.

    Args:
        cut: the layer.
        inputs: one array per input of the model, batch first.
        index: class per image, or `layerscope.focus.targets.PREDICTED`.
    """
    about = cut.explained
    maps, score, chosen = about.ask(inputs, index, [cut.tensor, about.score, about.chosen])
    values = maps.reshape(len(maps), -1, maps.shape[-1])
    return Seen(
        cut,
        inputs,
        np.array(chosen, np.int64),
        np.array(score, np.float32),
        values.sum((0, 1), dtype=np.float64),
        values.shape[0] * values.shape[1],
        values.min((0, 1)),
        values.max((0, 1)),
        values.max(1),
        np.stack(np.divmod(values.argmax(1), maps.shape[2]), -1),
    )


@dataclass(frozen=True)
class Levels:
    """What the channels of a layer may be held at, over all images and places, (C,) each."""

    mean: Doubles
    low: Floats
    high: Floats

    @classmethod
    def of(cls, batches: Sequence[Seen]) -> "Levels":
        """The levels of all batches together."""
        total = np.sum([seen.total for seen in batches], axis=0)
        low = np.min([seen.low for seen in batches], axis=0)
        high = np.max([seen.high for seen in batches], axis=0)
        return cls(total / sum(seen.pixels for seen in batches), low, high)

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Channels that hold one value, 0 for most; it makes no difference to hold them."""
        return flat(self.low, self.high)

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Channels that are not dead, and whose range is not negligible in their layer."""
        return ~self.dead & (relative_range(self.low, self.high) >= NEGLIGIBLE)


@dataclass(frozen=True)
class Answers:
    """What the model says of n images without each of M channels.

    Attributes:
        changes: (n, M), of the explained number; 0 where it is rounding.
        classes: (n, M), the class with the highest number.
        before: (n,), the same with all channels.
        moved: (n, M), the largest change of any number that was asked for, in units of rounding.
    """

    changes: Floats
    classes: NDArray[np.int64]
    before: NDArray[np.int64]
    moved: Floats


def without(
    seen: Seen,
    channels: Places,
    values: NDArray[np.floating],
    rows: int,
    also: Sequence[str] = (),
) -> Answers:
    """Hold channels at values, one channel at a time.

    Rounding is found out, not assumed: the unchanged images are computed twice, in their own
    batch and in one of the size of the others.

    Args:
        seen: the images and the layer.
        channels: (M,).
        values: (M,), what they are held at.
        rows: changed images in one pass, at least as many as there are images.
        also: tensor names that ``moved`` looks at, besides the numbers of all classes.
    """
    count, cut = len(seen.index), cut_at(seen.cut.explained, seen.cut.tensor, also)
    calm = np.resize(np.arange(count), rows)
    who = np.concatenate([calm, np.repeat(np.arange(count), len(channels))])
    which = np.concatenate([np.full(rows, UNCHANGED), np.tile(channels, count)])
    what = np.concatenate([np.zeros(rows), np.tile(values, count)])
    plain = cut.explained.ask(seen.inputs, seen.index, cut.fetches)
    passes = ablated(cut, seen.inputs, seen.index, who, which, what, rows)
    _, again = next(passes)
    base = [x[:count].astype(np.float64) for x in again]
    rounding = [_rounding(one, other[calm]) for one, other in zip(again, plain, strict=True)]
    changes = np.empty(len(who) - rows, np.float32)
    moved, classes = np.zeros_like(changes), np.empty(len(changes), np.int64)
    for at, found in passes:
        here = slice(at.start - rows, at.stop - rows)
        gaps = [now - then[who[at]] for now, then in zip(found, base, strict=True)]
        changes[here] = np.where(np.abs(gaps[1]) <= rounding[1], 0, gaps[1])
        classes[here] = found[0].argmax(1)
        for gap, floor in zip(gaps, rounding, strict=True):
            size = np.abs(gap).reshape(len(gap), -1).max(1)
            moved[here] = np.maximum(moved[here], size / floor)
    shape = count, len(channels)
    before = np.asarray(base[0].argmax(1))
    return Answers(changes.reshape(shape), classes.reshape(shape), before, moved.reshape(shape))


def _rounding(one: Array, other: Array) -> float:
    """How far two computations of the same numbers may lie apart."""
    first = np.asarray(one, np.float64)
    gap, size = np.abs(first - other).max(initial=0), np.abs(first).max(initial=0)
    return float(max(NOISE * size, _DEVIATION * gap, _TINY))


def unused(
    batches: Sequence[Seen],
    answers: Sequence[Answers],
    channels: Places,
    levels: Levels,
    rows: int,
) -> NDArray[np.bool_]:
    """Which channels vary, and yet nothing that the model says depends on them.

    Held at its mean a channel may change nothing by the form of the model: a mean over all places
    follows, and the images are alike. So those that seem unused are held at their lowest and their
    highest value as well, and all outputs of the model are looked at.

    Args:
        batches: the images.
        answers: for each batch, what the model says without each channel.
        channels: (M,), the channels of these answers.
        levels: of the layer.
        rows: see `without`.

    Returns:
        (M,). False for a channel that holds one value, or whose range is negligible in its layer:
        there is too little to depend on.
    """
    found = np.concatenate([one.moved for one in answers])
    seems = (found <= 1).all(0) & levels.varies[channels]
    return _at_the_ends(batches, seems, channels, levels, rows)


def unused_at_once(seen: Seen, levels: Levels, rows: int) -> NDArray[np.bool_]:
    """The same for all channels of a layer, without the numbers: most are settled by one image.

    Args:
        seen: the images, all of them.
        levels: of the layer.
        rows: see `without`.

    Returns:
        (C,).
    """
    seems = levels.varies
    bounds = sorted({0, *(end for end in _STEPS if end < len(seen.index)), len(seen.index)})
    for start, stop in pairwise(bounds):
        left = np.flatnonzero(seems)
        if not len(left):
            break
        few = replace(
            seen, inputs=[x[start:stop] for x in seen.inputs], index=seen.index[start:stop]
        )
        seems[left] = (without(few, left, levels.mean[left], rows).moved <= 1).all(0)
    return _at_the_ends([seen], seems, np.arange(len(seems)), levels, rows)


def _at_the_ends(
    batches: Sequence[Seen],
    seems: NDArray[np.bool_],
    channels: Places,
    levels: Levels,
    rows: int,
) -> NDArray[np.bool_]:
    """Which of the channels that seem unused are so at their lowest and highest value, too."""
    for level in (levels.low, levels.high):
        for seen in batches:
            left = np.flatnonzero(seems)
            if not len(left):
                return seems
            outputs = list(seen.cut.explained.traced.outputs.values())
            again = without(seen, channels[left], level[channels[left]], rows, outputs)
            seems[left] = (again.moved <= 1).all(0)
    return seems
