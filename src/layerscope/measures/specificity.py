"""Whether a map follows its own image, by what early layers see: light, edges, colour (measure 4).

For early layers only: with depth the measure falls to 0 by design, as maps leave the pixels.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_gradient_magnitude

from layerscope.measures.correlation import unit_columns
from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats

REFERENCES = (
    "luminance",
    "fine edges",
    "medium edges",
    "coarse edges",
    "red against green",
    "blue against yellow",
)
"""What a map is compared with, in the order of the last axis."""

_SIGMAS = (1.0, 2.0, 4.0)
"""Scales of the edges, in pixels of the photo."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance, ITU-R 601."""

_FLAT = 1e-3
"""A reference with a standard deviation below this, in grey levels, is flat: a grey photo's
colours."""


def luminance(photos: NDArray[Any]) -> Floats:
    """ITU-R 601 luminance of photos (..., 3) in 0..255; float32 (...), 0..255."""
    return np.asarray(photos.astype(np.float32) @ np.array(LUMINANCE, np.float32))


def full_references(photos: NDArray[Any]) -> Floats:
    """The references at the resolution of the photos, to be averaged down for each map size.

    Luminance, magnitude of its gradient at three scales (Gaussian derivatives), and the colour
    opponents red - green and blue - (red + green) / 2.

    Args:
        photos: (N, h, w, 3), 0..255.

    Returns:
        float32 (N, h, w, 6), in the order of `REFERENCES`, in grey levels.
    """
    colours = photos.astype(np.float32)
    found = np.empty((*photos.shape[:3], len(REFERENCES)), np.float32)
    found[..., 0] = luminance(colours)
    for image in found:
        for place, sigma in enumerate(_SIGMAS, start=1):
            gaussian_gradient_magnitude(image[..., 0], sigma, output=image[..., place])
    red, green, blue = np.moveaxis(colours, -1, 0)
    found[..., 4] = red - green
    found[..., 5] = blue - (red + green) / 2
    return found


def area_average(images: Floats, size: tuple[int, int]) -> Floats:
    """Images at another size, each new pixel the mean of the area that it covers.

    Args:
        images: float32 (N, h, w, K).
        size: height and width of the result.

    Returns:
        float32 (N, H, W, K).
    """
    count, height, width, kinds = images.shape
    rows = _overlap(height, size[0]) @ images.reshape(count, height, width * kinds)
    return np.asarray(_overlap(width, size[1]) @ rows.reshape(count, size[0], width, kinds))


def references(photos: NDArray[Any], size: tuple[int, int]) -> Floats:
    """What the maps of some photos are compared with, at the resolution of the maps.

    Args:
        photos: (N, h, w, 3), 0..255.
        size: height and width of the maps.

    Returns:
        float32 (N, H, W, 6), in the order of `REFERENCES`.
    """
    return area_average(full_references(photos), size)


def unit_references(references: Floats) -> Floats:
    """References (N, H, W, K) as columns (N, H W, K) of mean 0 and length 1.

    Flat ones are 0: nothing resembles them.
    """
    cells = references.reshape(len(references), -1, references.shape[3])
    found = np.stack([unit_columns(one) for one in cells])
    return np.where(cells.std(1, keepdims=True) <= _FLAT, np.float32(0), found)


@dataclass(frozen=True, slots=True)
class Specificity:
    """How much more a map resembles its own image than another one; each (N, C).

    Attributes:
        value: own less other. About 0 (unrelated to the image, or too deep to tell) to 1; below 0
            by chance. NaN for constant maps.
        own: the largest absolute correlation of the map with a reference of its own image, 0 to 1.
        reference: which one that is, a place in `REFERENCES`; -1 for constant maps.
    """

    value: Floats
    own: Floats
    reference: NDArray[np.int64]


def specificity(maps: Floats, own: Floats, other: Floats) -> Specificity:
    """max_phi abs(rho(a(x), phi(x))) less the same with another image x', image by image.

    The measure of a channel is the mean over images; intervals come from resampling them.

    Args:
        maps: float32 (N, H, W, C).
        own: float32 (N, H W, K), `unit_references` of each map's image.
        other: float32 (N, H W, K), those of another image for each map.
    """
    count, channels, kinds = maps.shape[0], maps.shape[3], own.shape[2]
    found = np.empty((count, 2, kinds, channels), np.float32)
    for place in range(count):
        both = np.concatenate([own[place], other[place]], 1)
        cells = maps[place].reshape(-1, channels)
        # The references have mean 0, so that the mean of a map drops out of the products.
        found[place] = (np.abs(both.T @ cells) / _length(cells)).reshape(2, kinds, channels)
    best = found.max(2)
    varying = np.isfinite(best[:, 0])
    winner = np.where(varying, found[:, 0].argmax(1), -1)
    return Specificity(best[:, 0] - best[:, 1], best[:, 0], winner)


def _length(cells: Floats) -> Floats:
    """Of each column (P, C) less its mean; NaN where it is constant or not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        ones = np.full(len(cells), 1 / len(cells), np.float32)
        around = cells - cells[:1]  # against cancellation
        mean = (ones @ around).astype(np.float64)
        squares = np.einsum("pc,pc->c", around, around) - len(cells) * mean**2
        rounding = len(cells) * (ROUNDING * (mean + cells[0])) ** 2
        known = (squares > rounding) & np.isfinite(squares)
        return np.sqrt(np.where(known, squares, np.nan)).astype(np.float32)


@lru_cache(maxsize=64)
def _overlap(have: int, want: int) -> Floats:
    """The share of each old pixel in the area of each new one, (want, have); rows sum to 1."""
    edges = np.arange(want + 1) * (have / want)
    old = np.arange(have)
    upper = np.minimum(edges[1:, None], old + 1)
    lower = np.maximum(edges[:-1, None], old)
    return np.asarray((np.clip(upper - lower, 0, None) * (want / have)).astype(np.float32))
