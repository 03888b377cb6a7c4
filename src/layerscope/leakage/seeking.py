"""The patch of a class that recurs in its images and not in others: candidates, then the best.

Only images that choose are looked at; what is found is inflated and has to be judged on others.
"""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from layerscope.leakage.aligning import aligned, grown, mean_of_box
from layerscope.leakage.pool import Outside, Pool
from layerscope.leakage.windows import Bank
from layerscope.vocabulary import Floats

_SOURCES = 16
"""Images whose patches are tried."""
_SHARES = (1.0, 0.15)
"""Shares of the images, the best ones, whose mean is compared inside and outside: all, for a faint
mark that every image has, and few, for a mark that few have."""
_KEPT = 4
"""Candidates for each share and side."""
_GROWN = 6
"""Candidates that are grown."""
_PER_PLACE = 2
"""Patches that stand for a place that was nominated."""
_BLOCK = 256
_MOSTLY_FLAT = 0.25


class Patch(NamedTuple):
    """A window of one of the choosing images: its number, upper left and side in pixels."""

    source: int
    y: int
    x: int
    side: int


class Square(NamedTuple):
    """A place in all images: its upper left and its side in pixels."""

    y: int
    x: int
    side: int


@dataclass(frozen=True)
class Template:
    """What copies in a class have in common.

    Attributes:
        fine: high-passed aligned mean, (h, w, C).
        cutoff: correlation above which an image counts as a carrier.
        score: on the images that chose it.
    """

    fine: Floats
    cutoff: float
    score: float


@dataclass(frozen=True)
class _Scene:
    """The images of one class that choose, and those of other classes."""

    bank: Bank
    raw: Floats
    outside: Outside
    name: int

    def away(self, fine: Floats) -> tuple[Floats, NDArray[Any]]:
        """Best correlation of a template in each image of other classes, and their labels."""
        kept = self.outside.labels != self.name
        return self.outside.bank.best(fine)[0][kept], self.outside.labels[kept]


def highest(values: NDArray[Any], share: float) -> NDArray[np.float64]:
    """Mean of the highest share of the values, at least two of them, along the last axis."""
    count = min(values.shape[-1], max(2, round(share * values.shape[-1])))
    return np.asarray(np.partition(values, -count, -1)[..., -count:].mean(-1, dtype=np.float64))


def best_matches(patches: Floats, windows: Floats) -> Floats:
    """The highest correlation of each patch with any window of each image.

    Args:
        patches: (S, D), normalised.
        windows: (N, P, D), normalised.

    Returns:
        float32 (S, N).
    """
    found = np.empty((len(patches), len(windows)), np.float32)

    def fill(image: int) -> None:
        own = windows[image].T
        for start in range(0, len(patches), _BLOCK):  # so that a product stays in the cache
            block = np.s_[start : start + _BLOCK]
            found[block, image] = (patches[block] @ own).max(1)

    # Products this small lose more by sharing one among the processors than they win.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        deque(pool.map(fill, range(len(windows))), maxlen=0)
    return found


def sought(
    pool: Pool, name: int, places: Sequence[Square] = (), everywhere: bool = True
) -> Template:
    """The template of a class that stands out most among the images that choose.

    Args:
        pool: the images.
        name: the class.
        places: where something else than the images suggests a mark.
        everywhere: search the whole images; else only those places.
    """
    inside = pool.choosing[name]
    scene = _Scene(pool.bank(inside), pool.images[inside], pool.outside, name)
    sides = pool.sides if everywhere else ()
    patches = [patch for side in sides for patch in candidates(pool, name, side)]
    patches += [patch for place in places for patch in _at(scene.bank, place)]
    tried = [_template(scene, patch) for patch in patches] or [_blank(scene, pool)]
    found = [template for template, _, _ in tried]
    for at in np.argsort([-template.score for template in found])[:_GROWN]:
        larger = _grown(scene, tried[at])
        found += [larger] if larger else []
    return max(found, key=lambda template: template.score)


def candidates(pool: Pool, name: int, side: int) -> list[Patch]:
    """Patches of a class that are found again inside more than outside, the first ones best."""
    inside = pool.choosing[name]
    step = max(2, round(side * pool.scale / 3))
    step += pool.scale > 1 and step % 2 == 0  # odd: patches at every phase of the scale
    patches, owner, places = _patches(pool, inside[:_SOURCES], side, step)
    if not len(patches):
        return []
    windows = pool.windows(inside, side, pool.scale)
    windows = windows.reshape(len(inside), -1, windows.shape[-1])
    own = best_matches(patches, windows)
    own[np.arange(len(own)), owner] = np.nan
    own = own[~np.isnan(own)].reshape(len(own), -1)
    scores = np.array([highest(own, share) for share in _SHARES])
    kept = _best_of(scores, max(200, len(own) // 5))
    away = pool.outside.labels != name
    beside = best_matches(patches[kept], pool.outside.windows[side][away])
    usual = np.array([_ordinary(beside, pool.outside.labels[away], share) for share in _SHARES])
    reach = side * pool.scale
    rows = np.column_stack([owner[kept], places[kept]])
    return _distinct(rows, scores[:, kept] - usual, reach)


def _best_of(scores: Sequence[NDArray[Any]] | NDArray[Any], count: int) -> NDArray[np.int64]:
    """Places of the highest of each row of scores."""
    return np.unique(np.argsort(-np.asarray(scores), 1)[:, :count])


def _at(bank: Bank, place: Square) -> list[Patch]:
    """The patches at a place that resemble the most others there."""
    y, x, side = place
    height, width = bank.fine.shape[1:3]
    side = min(side, height, width)
    y, x = min(y, height - side), min(x, width - side)
    cut = bank.fine[:, y : y + side, x : x + side]
    flat = (cut - cut.mean((1, 2), keepdims=True)).reshape(len(cut), -1)
    unit = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    alike = np.sort(unit @ unit.T, 1)[:, -1 - max(2, len(cut) // 4) : -1].mean(1)
    return [Patch(int(source), y, x, side) for source in np.argsort(-alike)[:_PER_PLACE]]


def _patches(
    pool: Pool, sources: NDArray[Any], side: int, step: int
) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
    """Patches that are not flat, the number of their image and their upper left."""
    windows = pool.windows(sources, side, step)
    count, rows, columns, size = windows.shape
    grid = np.moveaxis(np.mgrid[:rows, :columns], 0, -1).reshape(-1, 2) * step
    flat = windows.reshape(-1, size)
    live = np.einsum("sd,sd->s", flat, flat) > _MOSTLY_FLAT
    owner = np.repeat(np.arange(count), rows * columns)
    return flat[live], owner[live], np.tile(grid, (count, 1))[live]


def _ordinary(matches: NDArray[Any], labels: NDArray[Any], share: float) -> NDArray[np.float64]:
    """The best share outside: mean over classes, without the quarter of them that lie highest.

    These may share the mark.
    """
    means = np.stack([highest(matches[..., labels == name], share) for name in np.unique(labels)])
    kept = len(means) - (len(means) + 1) // 4
    return np.asarray(np.sort(means, 0)[:kept].mean(0))


def _distinct(rows: NDArray[Any], leads: NDArray[Any], reach: int) -> list[Patch]:
    """The best few for each share, none half over another of the same image."""
    found: list[Patch] = []
    for lead in leads:
        wanted = len(found) + _KEPT
        for source, y, x in rows[np.argsort(-lead)].tolist():
            if all(
                source != one.source or max(abs(y - one.y), abs(x - one.x)) >= reach / 2
                for one in found
            ):
                found.append(Patch(source, y, x, reach))
            if len(found) == wanted:
                break
    return found


Found = tuple[Template, NDArray[np.int64], NDArray[np.bool_]]
"""A template, its best place in each image that chooses, and which of them carry it."""


def _blank(scene: _Scene, pool: Pool) -> Found:
    """What is found where all patches are flat."""
    return _rated(scene, scene.bank.fine[0, : pool.sides[0], : pool.sides[0]])


def _template(scene: _Scene, patch: Patch) -> Found:
    """The mean of a patch and its copies."""
    bank = scene.bank
    fine = bank.fine[patch.source, patch.y :, patch.x :][: patch.side, : patch.side]
    own, places = bank.best(fine)
    rest = np.delete(own, patch.source)
    carries = own >= _cutoff(rest, *scene.away(fine))[1]
    carries[patch.source] = True
    mean = aligned(bank.fine[carries], places[carries], fine.shape[:2]).mean(0)
    return _rated(scene, mean)


def _rated(scene: _Scene, fine: Floats) -> Found:
    own, places = scene.bank.best(fine)
    away, labels = scene.away(fine)
    cutoff, least = _cutoff(own, away, labels)
    carries = own >= least
    fair = own.copy()
    fair[carries] = np.minimum(own[carries], _without_itself(scene.bank, places, carries, fine))
    score = max(float(highest(fair, share) - _ordinary(away, labels, share)) for share in _SHARES)
    return Template(fine, cutoff, score), places, carries


def _cutoff(own: NDArray[Any], away: NDArray[Any], labels: NDArray[Any]) -> tuple[float, float]:
    """Half way between the best inside and the ordinary outside.

    Beside it the same, lowered so far that an eighth of the images, at least three, lie above.
    """
    top = float(highest(own, _SHARES[1]))
    means = {name: away[labels == name].mean() for name in np.unique(labels)}
    usual = sorted(means, key=lambda name: means[name])[: len(means) - (len(means) + 1) // 4]
    high = float(np.quantile(away[np.isin(labels, usual)], 0.95))
    cutoff = (top + high) / 2 if top > high else top
    fewest = min(len(own), max(3, len(own) // 8))
    return cutoff, min(cutoff, float(np.sort(own)[-fewest]))


def _without_itself(
    bank: Bank, places: NDArray[Any], carries: NDArray[np.bool_], fine: Floats
) -> NDArray[Any]:
    """Correlation of each copy with the mean of the other ones."""
    copies = aligned(bank.fine[carries], places[carries], fine.shape[:2])
    copies = copies - copies.mean((1, 2), keepdims=True)
    flat = copies.reshape(len(copies), -1).astype(np.float64)
    rest = flat.sum(0) - flat
    lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(rest, axis=1)
    return np.asarray((flat * rest).sum(1) / np.maximum(lengths, 1e-12))


def _grown(scene: _Scene, found: Found) -> Template | None:
    """The template of the whole mark around a patch, grown again once aligned as a whole."""
    bank, larger = scene.bank, found
    for _ in range(2):
        template, places, carries = larger
        size = template.fine.shape[:2]
        box = grown(bank.fine[carries], scene.raw[carries], places[carries], size, bank.faint)
        if box is None:
            break
        mean = mean_of_box(bank.fine[carries], places[carries], size, box)
        larger = _rated(scene, mean)
    return larger[0] if larger is not found else None
