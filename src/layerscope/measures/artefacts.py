"""Patterns that come from the layer and not from the image (measure 3).

Both measures look at the map that is left when a channel is averaged over many images.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats

_Doubles = NDArray[np.float64]


def checkerboard(position_mean: NDArray[Any], stride: int) -> _Doubles:
    """How much of the mean map is a pattern that repeats every ``stride`` pixels.

    Its energy at the multiples of 1 / stride cycles per pixel, vertically and horizontally and
    without frequency 0, over all its energy without frequency 0. Uneven overlap of the kernels of a
    transposed convolution makes such patterns (Odena, Distill 2016). By Parseval this is the
    variance between the stride x stride phases over the whole variance.

    Args:
        position_mean: (H, W, C), the mean over images at each position. Rows and columns beyond the
            last whole period are left out.
        stride: of the upsampling, in pixels of the map.

    Returns:
        (C,), 0 (no such pattern; (stride^2 - 1) / (H W - 1) for noise) to 1 (nothing else); NaN
        where the mean map is constant, for stride 1 and for maps of less than two periods.
    """
    height, width, channels = position_mean.shape
    rows, columns = height // stride, width // stride
    if stride < 2 or min(rows, columns) < 2:
        return np.full(channels, np.nan)
    whole = position_mean[: rows * stride, : columns * stride].astype(np.float64)
    phases = whole.reshape(rows, stride, columns, stride, channels).mean((0, 2))
    return np.asarray(phases.var((0, 1)) / _variance(whole))


@dataclass(frozen=True, slots=True)
class PositionalShare:
    """How much of a channel's variance the position alone explains; each (C,).

    The mean over n images leaves about 1 / n even where position means nothing. Centred objects
    explain some as well, but rather in the interior.

    Attributes:
        whole: Var_pos(mean_x a) / Var_pos,x(a), 0 (position means nothing) to 1 (every image gives
            the same map); NaN for constant channels.
        border: mean squared distance of the outermost pixels of the mean map from the mean of the
            interior, over the same total variance. 0 (like the interior) upwards (padding); may
            exceed 1. NaN also for maps without an interior.
        interior: the variance of the interior of the mean map over the total variance, from 0.
    """

    whole: _Doubles
    border: _Doubles
    interior: _Doubles


def positional_share(
    position_mean: NDArray[Any], total_variance: NDArray[Any], border: int = 1
) -> PositionalShare:
    """Position or padding bias (Alsallakh, 2010.02178), border and interior apart.

    Args:
        position_mean: (H, W, C), the mean over images at each position.
        total_variance: (C,), the variance over all positions of the same images.
        border: width of the border in pixels.
    """
    mean = position_mean.astype(np.float64)
    inner = mean[border:-border, border:-border]
    total = np.where(total_variance > (ROUNDING * mean.mean((0, 1))) ** 2, total_variance, np.nan)
    if inner.size == 0:
        unknown = np.full(mean.shape[2], np.nan)
        return PositionalShare(mean.var((0, 1)) / total, unknown, unknown)
    outer = np.ones(mean.shape[:2], bool)
    outer[border:-border, border:-border] = False
    distance = np.square(mean[outer] - inner.mean((0, 1))).mean(0)
    return PositionalShare(mean.var((0, 1)) / total, distance / total, inner.var((0, 1)) / total)


def kept_on_noise(maps: Floats, noise_mean: Floats) -> _Doubles:
    """How far the mean map on noise input is also in the map of an image: their covariance.

    What position alone does, by padding or by a bias, is there whatever the input shows. What
    centred objects do is not, though `positional_share` counts it as well. Over the variance of a
    channel the mean over images is the share of it that position explains with any input; that of
    one image errs on both sides of it. The mean on noise is a mean of draws, whose error is not
    shared by images, so it adds nothing on average.

    Args:
        maps: float32 (N, H, W, C).
        noise_mean: (H, W, C), the mean of the maps of noise input.

    Returns:
        (N, C), in squared units of the maps; NaN where one is not finite.
    """
    around = (noise_mean - noise_mean.mean((0, 1), dtype=np.float64)).astype(np.float32)
    flat = around.reshape(-1, around.shape[2])
    sums = [np.einsum("pc,pc->c", one.reshape(flat.shape), flat) for one in maps]
    return np.asarray(np.stack(sums), np.float64) / len(flat)


def _variance(maps: _Doubles) -> _Doubles:
    """Of (H, W, C) over the pixels, (C,); NaN where it is only rounding."""
    variance = maps.var((0, 1))
    return np.where(variance > (ROUNDING * maps.mean((0, 1))) ** 2, variance, np.nan)
