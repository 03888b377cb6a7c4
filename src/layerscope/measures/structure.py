"""Whether a map is ordered in space, or noisy, or blurry (measure 2).

Order alone does not mean that it was learned: untrained layers are ordered as well. Compare a
channel with itself on noise, and a layer with its untrained twin.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from layerscope.measures.vitality import ROUNDING
from layerscope.vocabulary import Floats

_Doubles = NDArray[np.float64]

HIGH = 0.35
"""Cycles per pixel above which a frequency is high. White noise has .61 of its energy there."""

_FLOOR = 1e-12
"""Power below this share of the mean is rounding of float32 maps, and counts as that much."""


def morans_i(
    m2: NDArray[Any], rook: NDArray[Any], height: int, width: int, mean: NDArray[Any] | float = 0.0
) -> _Doubles:
    """Moran's I: how much neighbouring pixels resemble each other.

    I = (n / W) sum w_ij z_i z_j / sum z_i^2 with z = a - mean, w_ij = 1 for pixels that share a
    side and W = sum w_ij.

    Args:
        m2: (N, C), the sum of z^2 over the pixels of each map.
        rook: (N, C), the sum of z_i z_j over neighbours, each pair once.
        height: of the maps, in pixels.
        width: of the maps, in pixels.
        mean: (N, C), of each map. A standard deviation that is only rounding beside it counts
            as 0.

    Returns:
        (N, C), -1 (a checkerboard; -1.08 at least) over -1/(n - 1) (white noise) to 1 (smooth;
        1.05 at most); NaN for constant maps and for single pixels.
    """
    pixels, pairs = height * width, height * (width - 1) + (height - 1) * width
    rounding = pixels * (ROUNDING * np.asarray(mean, np.float64)) ** 2
    varying = np.asarray(m2 > rounding) & (pairs > 0)
    return np.asarray(pixels / max(pairs, 1) * rook / np.where(varying, m2, np.nan))


def structure_index(own: NDArray[Any], noise: NDArray[Any]) -> _Doubles:
    """Moran's I of each map minus what its channel reaches on noise.

    The second part is the order that overlapping receptive fields make of anything.

    Args:
        own: (N, C), Moran's I on images.
        noise: (M, C), Moran's I of the same channels on noise input.

    Returns:
        (N, C), about -2 to 2; 0 and below: no more order than noise gives; .4 and more: clear
        order from the image. NaN where either part is undefined.
    """
    known = np.isfinite(noise)
    count = known.sum(0)
    total = np.where(known, noise, 0).sum(0, dtype=np.float64)
    return np.asarray(own - total / np.where(count > 0, count, np.nan))


@dataclass(frozen=True, slots=True)
class Spectrum:
    """What the power spectrum P of each map says; float64 (N, C), NaN for constant maps.

    The maps are weighted with a Hann window: else the jump from one side of a map to the other
    would look like high frequencies, the more so the more blurred it is.

    Attributes:
        flatness: exp(mean log P) / mean P over all frequencies but 0. 0 (one wave, or smooth) over
            .561 (white noise) to 1 (a single point).
        high: the share of the energy, without the mean, above `HIGH` cycles per pixel. 0 (smooth)
            over about .61 (white noise) to 1 (a checkerboard).
    """

    flatness: _Doubles
    high: _Doubles


def spectrum(maps: Floats) -> Spectrum:
    """Spectral flatness and the share of high frequencies, from one transform.

    Args:
        maps: float32 (N, H, W, C).
    """
    flatness = np.full((maps.shape[0], maps.shape[3]), np.nan)
    high = flatness.copy()
    if maps.shape[1] * maps.shape[2] > 1:
        for place, values in enumerate(maps):
            flatness[place], high[place] = _of_one_image(values)
    return Spectrum(flatness, high)


def spectral_flatness(maps: Floats) -> _Doubles:
    """`Spectrum.flatness` of maps (N, H, W, C), shape (N, C)."""
    return spectrum(maps).flatness


def high_frequency_share(maps: Floats) -> _Doubles:
    """`Spectrum.high` of maps (N, H, W, C), shape (N, C)."""
    return spectrum(maps).high


def blur_ratio(high: NDArray[Any], luma: Floats) -> _Doubles:
    """The high frequencies of each map against those of the image that it was made from.

    Args:
        high: (N, C), the share of high frequencies of each map (`Spectrum.high`).
        luma: (N, H, W), luminance of the images at the resolution of the maps.

    Returns:
        (N, C), 0 (blurred) over 1 (as sharp as the image) upwards (sharper: edges, or noise); NaN
        where either is constant, or the image has no high frequencies.
    """
    image = high_frequency_share(luma[..., None])
    return np.asarray(high / np.where(image > _FLOOR, image, np.nan))


def _of_one_image(values: Floats) -> tuple[_Doubles, _Doubles]:
    """Flatness and high share of each channel of the maps of one image, (H, W, C)."""
    height, width, channels = values.shape
    pixels = height * width
    weights, high = _frequencies(height, width)
    waves = scipy.fft.rfft2(_windowed(values), axes=(0, 1)).reshape(-1, channels)
    power = np.square(waves.real)
    power += np.square(waves.imag)
    average = pixels**2 / (pixels - 1)  # by Parseval, as the map has mean 0 and variance 1
    share = high @ power / pixels**2
    np.maximum(power, np.float32(_FLOOR * average), out=power)  # NaN stays NaN
    logarithms = weights @ np.log(power, out=power)
    return np.exp(logarithms / (pixels - 1)) / average, share


def _windowed(values: Floats) -> Floats:
    """Maps (H, W, C) in a Hann window, then of mean 0 and variance 1 each.

    NaN where constant or not finite.
    """
    height, width, channels = values.shape
    window = np.outer(_hann(height), _hann(width)).astype(np.float32)
    cells = values.reshape(-1, channels)
    with np.errstate(invalid="ignore", over="ignore"):
        mean = (window.ravel() / window.sum()) @ cells
        centred = (cells - mean) * window.reshape(-1, 1)
        variance = np.einsum("pc,pc->c", centred, centred, dtype=np.float64) / len(cells)
        varying = variance > (ROUNDING * mean.astype(np.float64)) ** 2
        centred /= np.sqrt(np.where(varying, variance, np.nan)).astype(np.float32)
    return np.asarray(centred.reshape(values.shape))


def _hann(size: int) -> _Doubles:
    """sin^2 at the centres of the pixels, so that no pixel is lost, not even of two."""
    return np.asarray(np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2)


@lru_cache(maxsize=64)
def _frequencies(height: int, width: int) -> tuple[Floats, Floats]:
    """How often each frequency of the half plane counts, and the same for high ones only.

    The columns in between stand for their mirror images as well; frequency 0 counts nothing.
    """
    weights = np.full((height, width // 2 + 1), 2, np.float32)
    weights[:, 0] = 1
    if width % 2 == 0:
        weights[:, -1] = 1
    weights[0, 0] = 0
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return weights.ravel(), (weights * (radius > HIGH)).ravel()
