"""Whether the images that excite a channel have something in common that can be seen (measure 9).

What "in common" means is up to an image encoder: anything that turns images into vectors. A human
eye would be the best one; HOG, which needs no download, sees outlines only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from layerscope.measures.significance import p_value
from layerscope.measures.specificity import area_average, luminance
from layerscope.vocabulary import Floats

_Doubles = NDArray[np.float64]
_Places = NDArray[np.int64]

_BLOCK = 1024
"""Channels at a time, to bound the memory for the cosines of their images."""


class Encoder(Protocol):
    """Turns images into vectors that are near each other for images that look alike."""

    @property
    def name(self) -> str:
        """What is printed beside each result."""

    def __call__(self, images: NDArray[np.uint8]) -> Floats:
        """Vectors of length 1, float32 (N, D), of images (N, h, w, 3) in 0..255."""


@dataclass(frozen=True, slots=True)
class Hog:
    """Histograms of oriented gradients of the luminance: outlines, without colour.

    Attributes:
        size: side in pixels to which images are brought.
        cell: side in pixels of the cells that have one histogram each.
    """

    size: int = 64
    cell: int = 8

    @property
    def name(self) -> str:
        """The method and its parameters."""
        return f"hog-{self.size}-{self.cell}"

    def __call__(self, images: NDArray[np.uint8]) -> Floats:
        """Vectors of length 1, float32 (N, D); of length 0 for images of one colour."""
        from skimage.feature import hog  # heavy, and needed here alone

        small = area_average(luminance(images)[..., None], (self.size, self.size))[..., 0]
        cells, block = (self.cell, self.cell), (2, 2)
        vectors = np.stack([hog(image, 8, cells, block).astype(np.float32) for image in small])
        vectors[np.ptp(small, (1, 2)) < 1] = 0  # of one colour: HOG would blow up the rounding
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.where(length > 0, length, 1))


@dataclass(frozen=True, slots=True)
class Coherence:
    """How alike a channel's top images are; each (C,), NaN where a list is not full.

    Attributes:
        similarity: mean cosine between two of them, -1 to 1.
        z: the same in standard deviations of equally many random images. About 0 (no more alike
            than any images: a mixed channel, or one that the encoder cannot follow) upwards
            (alike); NaN also where random lists do not differ.
        p: the chance that random images are as alike.
    """

    similarity: _Doubles
    z: _Doubles
    p: _Doubles


def cosines_of(embeddings: Floats) -> Floats:
    """Cosines (N, N) of all pairs of images, from their vectors of length 1 (N, D)."""
    return np.asarray(embeddings @ embeddings.T)


def coherence(cosines: Floats, top: _Places, draws: int = 999, seed: int = 0) -> Coherence:
    """Mean pairwise similarity of a channel's top images, against random images.

    Args:
        cosines: (N, N), `cosines_of` all images from which the top ones were chosen.
        top: (C, k), the rows of each channel's top images, k of 2 to about 20; -1 where there are
            not so many.
        draws: number of random lists of k images.
        seed: of the draws.
    """
    full = (top >= 0).all(1)
    similarity = np.full(len(top), np.nan)
    if not full.any():
        return Coherence(similarity, similarity, similarity)
    similarity[full] = _similarity(cosines, top[full])
    null = _similarity(cosines, _random_lists(len(cosines), top.shape[1], draws, seed))
    spread = null.std() if np.ptp(null) > 1e-9 else np.nan
    return Coherence(similarity, (similarity - null.mean()) / spread, p_value(similarity, null))


@lru_cache(maxsize=4)
def _random_lists(images: int, size: int, draws: int, seed: int) -> _Places:
    """Lists of images (draws, size), the same for each layer."""
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(images, size, replace=False) for _ in range(draws)])


def two_alternative(cosines: Floats, top: _Places, bottom: _Places) -> _Doubles:
    """How often the stronger of two images can be told by a channel's top and bottom images.

    After the machine interpretability score (MIS, NeurIPS 2024): of a query from the top and one
    from the bottom, the one that is more similar to the other top images and less to the other
    bottom images, on average, is taken for the stronger. Each of the k x k pairs of queries is
    asked once and left out of the references.

    Args:
        cosines: (N, N), `cosines_of` all images.
        top: (C, k), rows of the images that excite each channel most, k of 2 to about 20; -1 where
            there are not so many.
        bottom: (C, k), of those that excite it least.

    Returns:
        (C,), the share of right answers; .5 (chance) to 1 (always told), 0 (always the wrong one).
        NaN where a list is not full or an image is in both.
    """
    full = (top >= 0).all(1) & (bottom >= 0).all(1)
    apart = ~(top[:, :, None] == bottom[:, None, :]).any((1, 2))
    told = np.full(len(top), np.nan)
    for block in _blocks(np.flatnonzero(full & apart)):
        told[block] = _told(cosines, top[block], bottom[block])
    return told


def _told(cosines: Floats, top: _Places, bottom: _Places) -> _Doubles:
    """The share of right answers for lists (B, k), from the cosines (N, N) of all images."""
    within_top, within_bottom = _between(cosines, top, top), _between(cosines, bottom, bottom)
    across = _between(cosines, top, bottom)
    # Sums over the references, for top query i and bottom query j, both left out of them.
    top_to_top = within_top.sum(2) - np.diagonal(within_top, axis1=1, axis2=2)
    bottom_to_bottom = within_bottom.sum(2) - np.diagonal(within_bottom, axis1=1, axis2=2)
    top_to_bottom = across.sum(2, keepdims=True) - across
    bottom_to_top = across.sum(1, keepdims=True) - across
    top_leans = top_to_top[:, :, None] - top_to_bottom
    bottom_leans = bottom_to_top - bottom_to_bottom[:, None, :]
    lead = (top_leans - bottom_leans) / (top.shape[1] - 1)
    right = np.where(np.abs(lead) < 1e-6, 0.5, lead > 0)
    return np.asarray(right.mean((1, 2)))


def _similarity(cosines: Floats, lists: _Places) -> _Doubles:
    """Mean cosine over the pairs of each list (M, k)."""
    size = lists.shape[1]
    similarity = np.empty(len(lists))
    for block in _blocks(np.arange(len(lists))):
        together = _between(cosines, lists[block], lists[block]).astype(np.float64)
        pairs = together.sum((1, 2)) - np.trace(together, axis1=1, axis2=2)
        similarity[block] = pairs / (size * (size - 1))
    return similarity


def _between(cosines: Floats, one: _Places, other: _Places) -> Floats:
    """Cosines of each image of one list (B, k) with each of another, (B, k, k)."""
    return np.asarray(cosines[one[:, :, None], other[:, None, :]])


def _blocks(places: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(places), _BLOCK):
        yield places[start : start + _BLOCK]
