"""How much of a map is noise: what moves in the places where the map is quietest (measure 2).

Moran's I alone does not tell noise from fine texture: a channel that answers to texture is as rough
as noise, but only where the image has texture. Noise is everywhere. So the level of fine detail is
taken from the quietest places of a map, as noise is estimated in photos: with the mask of Immerkaer
(1996), blind to smooth changes, in the blocks with the least of it (Liu et al., 2006).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats

BLOCK = 4
"""Side of the blocks whose fine detail is compared, in pixels."""

QUIET = 0.1
"""Which block stands for the quiet places: this share of all is quieter."""

_SAMPLES = 64


def noise_share(maps: Floats) -> NDArray[np.float64]:
    """The share of a map's variance that white noise everywhere would need to be as restless.

    v / (k Var a), where v is the `QUIET` quantile, over the blocks, of the mean of (a * L)^2 / 36,
    L = [1 -2 1; -2 4 -2; 1 -2 1], and k is that quantile for white noise of variance 1 on maps of
    this size.

    Args:
        maps: float32 (N, H, W, C).

    Returns:
        (N, C), 0 (somewhere the map is smooth or silent) to about 1 (white noise; more where
        neighbours even alternate). 1 / (1 + SNR) for a map that is smooth somewhere, with white
        noise. NaN for constant maps, those that are not finite, and sides below 3 pixels.
    """
    count, height, width, channels = maps.shape
    if min(height, width) < 3:
        return np.full((count, channels), np.nan)
    found = np.stack([_quiet(one) for one in maps])
    return found / _white(height, width)


def _quiet(one: Floats) -> NDArray[np.float64]:
    """Fine detail in the quiet blocks of the maps (H, W, C) of one image, over their variance."""
    from layerscope.measures.noise_kernel import detail, mean_and_variance  # loads numba

    own = np.ascontiguousarray(one, np.float32)
    side = min(BLOCK, own.shape[0] - 2, own.shape[1] - 2)
    blocks = detail(own, side)
    place = int(QUIET * len(blocks))
    quiet = np.partition(blocks, place, axis=0)[place].astype(np.float64) / 36
    mean, variance = mean_and_variance(own)
    with np.errstate(invalid="ignore", over="ignore"):
        varying = (variance > (ROUNDING * mean) ** 2) & np.isfinite(variance)
        return np.asarray(quiet / np.where(varying, variance, np.nan))


@lru_cache(maxsize=64)
def _white(height: int, width: int) -> float:
    """What `_quiet` gives for white noise, on average."""
    random = np.random.default_rng(0)
    return float(_quiet(random.standard_normal((height, width, _SAMPLES), np.float32)).mean())
