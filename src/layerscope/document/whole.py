"""One picture for a whole layer: directions and parts that many channels share.

People read such directions more easily than single channels (Colin et al. 2024), so they stand
beside the chosen maps.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerscope.document.colour import Bytes
from layerscope.measures.vitality import flat
from layerscope.vocabulary import Floats

FIT_PIXELS = 1024
"""Parts are found on so many pixels at most, and then drawn for every pixel."""

SWEEPS = 15
NO_PART = 1e-6
"""A direction or part with no more than this share of a layer is none."""

NEGATIVE_SHARE = 0.01
"""Maps with no more than this share of their energy below 0 count as non-negative (SiLU, GELU)."""


class Factors(NamedTuple):
    """Parts of a layer, strongest first.

    ``maps`` is float32 (N, H, W, k); ``kind`` says whether they are non-negative parts that add
    up (NMF) or, for signed maps, principal components; ``share`` is how much of the layer they
    give back together, 0 to 1 (of its energy for NMF, of its variance for PCA).
    """

    maps: Floats
    kind: Literal["NMF", "PCA"]
    share: float


def composite(maps: Floats) -> tuple[Bytes, float]:
    """Return the three strongest directions of a layer as red, green and blue.

    Places with a similar colour get a similar answer from the layer as a whole; the colours have
    no other meaning. Each direction is stretched between its 1st and 99th percentile; a layer with
    a single direction comes back in grey.

    Args:
        maps: float32 (N, H, W, C); the images share their colours. Channels that are not finite
            everywhere are left out.

    Returns:
        uint8 (N, H, W, 3), and the share of the varying maps that the three directions explain,
        0 to 1: the mean over the maps of R squared, each map counted alike. It compares with
        the coverage of chosen maps, and cannot exceed the PCA bound of three.
    """
    cells = _finite_cells(maps)
    scores, _ = _principal(cells, 3)
    directions = scores.shape[1]
    if not directions:
        return np.full((*maps.shape[:3], 3), 128, np.uint8), 0.0
    low, high = np.percentile(scores, [1, 99], axis=0)
    reach = np.where(high > low, high - low, 1)
    colours = np.where(high > low, np.clip((scores - low) / reach, 0, 1), 0.5)
    rgb = np.full((len(cells), 3), 128, np.uint8)
    rgb[:, :directions] = (colours * 255).round()
    if directions == 1:
        rgb[:] = rgb[:, :1]
    return rgb.reshape(*maps.shape[:3], 3), _explained(cells, scores)


def factors(maps: Floats, count: int = 4) -> Factors:
    """Return the parts that make up a layer.

    Non-negative maps get non-negative matrix factorisation, maps = weights x parts with nothing
    below 0 (Lee & Seung 1999), by hierarchical alternating least squares (Cichocki & Phan 2009),
    from a fixed start. Signed maps have no such parts and get principal components.

    Args:
        maps: float32 (N, H, W, C). Channels that are not finite everywhere are left out.
        count: number of parts; fewer come back where the layer has fewer dimensions, none for
            a layer in which nothing varies.
    """
    cells = _finite_cells(maps)
    energy = float(np.einsum("pc,pc->", cells, cells))
    below = np.minimum(cells, 0)
    shape = maps.shape[:3]
    if energy and float(np.einsum("pc,pc->", below, below)) > NEGATIVE_SHARE * energy:
        scores, share = _principal(cells, count)
        return Factors(_strongest(scores, shape), "PCA", share)
    cells = np.maximum(cells, 0)
    parts = _fit_parts(cells[_spread(len(cells), FIT_PIXELS)], min(count, *cells.shape))
    weights = _weights(cells, parts, np.zeros((len(cells), len(parts)), np.float32), sweeps=10)
    lost = cells - weights @ parts
    share = 1 - float(np.einsum("pc,pc->", lost, lost)) / energy if energy else 0.0
    strength = weights * np.linalg.norm(parts, axis=1)
    alive = np.einsum("pk,pk->k", strength, strength) > NO_PART * energy
    return Factors(_strongest(strength[:, alive], shape), "NMF", share)


def _finite_cells(maps: Floats) -> Floats:
    """Pixels x channels, scaled to at most 1 so that squares cannot overflow."""
    cells = maps.reshape(-1, maps.shape[-1])
    largest = np.maximum(cells.max(0), -cells.min(0))
    keep = np.isfinite(largest)
    if not keep.all():
        cells, largest = cells[:, keep], largest[keep]
    peak = largest.max(initial=0)
    return np.asarray(cells / np.float32(peak if peak > 0 else 1), np.float32)


def _principal(cells: Floats, count: int) -> tuple[Floats, float]:
    """Scores of the strongest directions, ``count`` at most, and their share of the variance.

    Subspace iteration from a fixed start: a few products instead of a full decomposition.
    """
    centred = cells - cells.mean(0)
    variance = float(np.einsum("pc,pc->", centred, centred))
    if variance <= 1e-12 * cells.size:
        return np.zeros((len(cells), 0), np.float32), 0.0
    block = min(count + 5, *centred.shape)
    start = np.random.default_rng(0).normal(size=(centred.shape[1], block))
    basis = start.astype(np.float32)
    for _ in range(6):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    seen = centred @ basis
    _, turn = np.linalg.eigh(seen.T @ seen)
    turn = turn[:, ::-1][:, :count]
    loadings = basis @ turn
    scores = (seen @ turn) * np.where(loadings.sum(0) < 0, -1, 1).astype(np.float32)
    energy = np.einsum("pk,pk->k", scores, scores)
    return scores[:, energy > NO_PART * variance], float(energy.sum()) / variance


def _explained(cells: Floats, scores: Floats) -> float:
    """Mean R squared of the varying columns, given uncorrelated scores of mean 0."""
    low, high = cells.min(0), cells.max(0)
    centred = cells - cells.mean(0)
    unit = scores / np.sqrt(np.einsum("pk,pk->k", scores, scores))
    along = centred.T @ unit
    strength = np.einsum("pc,pc->c", centred, centred)
    varying = ~flat(low, high) & (strength > 0)
    shares = np.einsum("ck,ck->c", along, along)[varying] / strength[varying]
    return float(np.clip(shares, 0, 1).mean()) if varying.any() else 0.0


def _fit_parts(cells: Floats, count: int) -> Floats:
    """Find the parts (count, C), from the pixels that differ most from those taken before."""
    parts = np.empty((count, cells.shape[1]), np.float32)
    left = cells
    for number in range(count):
        strength = np.einsum("pc,pc->p", left, left)
        parts[number] = cells[strength.argmax()]
        along = parts[number] / max(float(np.linalg.norm(parts[number])), 1e-12)
        left = left - np.outer(left @ along, along)
    weights = np.zeros((len(cells), count), np.float32)
    for _ in range(SWEEPS):
        weights = _weights(cells, parts, weights, sweeps=1)
        parts = _weights(cells.T, weights.T, parts.T, sweeps=1).T
    return parts


def _weights(cells: Floats, parts: Floats, weights: Floats, sweeps: int) -> Floats:
    """Least squares of cells = weights @ parts with weights >= 0, one column after the other."""
    target, gram = cells @ parts.T, parts @ parts.T
    weights = weights.copy()
    for _ in range(sweeps):
        for number in range(len(parts)):
            step = (target[:, number] - weights @ gram[:, number]) / max(
                float(gram[number, number]), 1e-12
            )
            weights[:, number] = np.maximum(weights[:, number] + step, 0)
    return weights


def _strongest(scores: Floats, shape: tuple[int, ...]) -> Floats:
    order = np.argsort(-np.einsum("pk,pk->k", scores, scores), kind="stable")
    return scores[:, order].reshape(*shape, scores.shape[1])


def _spread(total: int, wanted: int) -> NDArray[np.intp]:
    """At most ``wanted`` row numbers, always the same; random, as a fixed step meets patterns."""
    if total <= wanted:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, wanted, replace=False))
