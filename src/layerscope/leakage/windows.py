"""High-passed windows of images, normalised so that a product of two is their correlation.

Per window and channel the mean is taken off; a window of D values a becomes
a / sqrt(sum a^2 + D e^2), where e is a contrast too faint to mean anything, and 0 where its own
contrast is below e. So rounding and the noise of JPEG in flat parts correlate with nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter, uniform_filter

from layerscope.vocabulary import Floats

_FAINT = 0.01
"""Of the range of the values."""
_SIZES = 4
"""Sizes of templates for which the lengths of all windows are kept: the first, which recur."""


def faintest(images: Floats) -> float:
    """The contrast below which a window counts as flat: a hundredth of the range of the values."""
    low, high = np.quantile(images[:: max(1, len(images) // 64)], (0.001, 0.999))
    return float(max(_FAINT * (high - low), 1e-12))


def high_passed(images: Floats, scale: int = 1) -> Floats:
    """What is finer than a Gaussian of ``scale`` pixels, averaged over ``scale`` x ``scale``.

    Args:
        images: (N, H, W, C).
        scale: s. At 1 this is x - G1(x); at s it is that of the image reduced by s, at every
            phase: its pixels lie s apart.

    Returns:
        float32 (N, H, W, C).
    """
    fine = np.asarray(images, np.float32)
    if scale > 1:
        fine = uniform_filter(fine, (0, scale, scale, 0), mode="nearest")
    smooth = gaussian_filter(fine, (0, scale, scale, 0), mode="nearest", truncate=3)
    return np.asarray(fine - smooth)


def unit_windows(fine: Floats, side: int, step: int, faint: float, scale: int = 1) -> Floats:
    """All windows of some images as unit vectors.

    Args:
        fine: high-passed images (N, H, W, C).
        side: of a window, in pixels ``scale`` apart.
        step: between windows, in pixels of the image.
        faint: see `faintest`.
        scale: see `high_passed`.

    Returns:
        float32 (N, rows, columns, D), D = side * side * C; each of length 1, a little less where
        it is faint, 0 where it is flat.
    """
    reach = (side - 1) * scale + 1
    views = np.lib.stride_tricks.sliding_window_view(fine, (reach, reach), (1, 2))
    views = views[:, ::step, ::step, :, ::scale, ::scale]
    windows = np.ascontiguousarray(views, np.float32)
    windows -= windows.mean((-2, -1), keepdims=True)
    flat = windows.reshape(*windows.shape[:3], -1)
    return _normalised(flat, faint)


def _normalised(windows: Floats, faint: float) -> Floats:
    squares = np.einsum("...d,...d->...", windows, windows)
    windows *= _reciprocal(squares, windows.shape[-1], faint)[..., None]
    return windows


def _reciprocal(squares: Any, size: int, faint: float) -> Floats:
    least = size * faint**2
    found = np.where(squares > least, 1 / np.sqrt(np.maximum(squares, 0) + least), 0)
    return np.asarray(found, np.float32)


@dataclass(frozen=True)
class Bank:
    """High-passed images with their spectra, ready to be searched for any template.

    Attributes:
        fine: (N, H, W, C).
        faint: see `faintest`.
        spectra: complex (N, C, H', W'/2 + 1).
    """

    fine: Floats
    faint: float
    spectra: NDArray[np.complex64]
    _lengths: dict[tuple[int, int], Floats] = field(default_factory=dict, repr=False)

    @staticmethod
    def of(fine: Floats, faint: float) -> "Bank":
        """Transform some high-passed images."""
        planes = np.ascontiguousarray(fine.transpose(0, 3, 1, 2), np.float32)
        return Bank(fine, faint, fft.rfft2(planes, _shape(fine)))

    def best(self, template: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """The highest correlation of each image, (N,), and its row and column, (N, 2)."""
        found = self.correlation(template)
        flat = found.reshape(len(found), -1)
        places = flat.argmax(1)
        return flat.max(1), np.stack(np.unravel_index(places, found.shape[1:]), 1)

    def correlation(self, template: Floats) -> Floats:
        """Normalised cross-correlation of a template (h, w, C) with every window.

        Returns:
            (N, H - h + 1, W - w + 1), -1 to 1.
        """
        height, width = template.shape[:2]
        shape = _shape(self.fine)
        own = template - template.mean((0, 1))
        own = (own / max(float(np.linalg.norm(own)), 1e-12)).astype(np.float32)
        spectrum = fft.rfft2(np.ascontiguousarray(own.transpose(2, 0, 1)), shape)
        joint = np.einsum("nchw,chw->nhw", self.spectra, spectrum.conj())
        found = fft.irfft2(joint, shape)
        rows, columns = self.fine.shape[1] - height + 1, self.fine.shape[2] - width + 1
        lengths = self._lengths.get((height, width))
        if lengths is None:
            lengths = self._reciprocals(height, width)
            if len(self._lengths) < _SIZES:
                self._lengths[height, width] = lengths
        return np.asarray(found[:, :rows, :columns] * lengths)

    def _reciprocals(self, height: int, width: int) -> Floats:
        """1 / length of every window of that size."""
        area = height * width
        sums = _box(self.fine, height, width)
        squares = _box(np.square(self.fine).sum(-1, keepdims=True), height, width)[..., 0]
        squares -= (sums**2).sum(-1) / area
        return _reciprocal(squares, area * self.fine.shape[-1], self.faint)


def _shape(fine: Floats) -> tuple[int, int]:
    height, width = (int(fft.next_fast_len(side, real=True)) for side in fine.shape[1:3])
    return height, width


def _box(values: Floats, height: int, width: int) -> NDArray[np.float64]:
    """Sums over all windows, from sums over everything above and to the left."""
    table = np.pad(values.astype(np.float64), ((0, 0), (1, 0), (1, 0), (0, 0)))
    table = table.cumsum(1).cumsum(2)
    return np.asarray(
        table[:, height:, width:]
        - table[:, :-height, width:]
        - table[:, height:, :-width]
        + table[:, :-height, :-width]
    )
