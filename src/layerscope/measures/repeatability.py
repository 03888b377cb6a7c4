"""Whether a map stays the same when the photo hardly changes (measure 7).

Shift stability is mostly architecture: an untrained net is as stable. Report it beside the twin's.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from layerscope.vocabulary import Floats

_Photos = NDArray[Any]


BRIGHTER = 16
"""Grey levels by which the brightness changes."""

JPEG_QUALITY = 80
"""Of the mild compression."""


@dataclass(frozen=True, slots=True)
class Transform:
    """A small change T of photos, and what it should do to maps.

    Attributes:
        name: one word.
        photos: T x, for photos (N, h, w, 3) in 0..255 at the size that the model sees, before
            preprocessing; keeps shape and dtype.
        mirrors: whether left and right are exchanged, in photos and so in maps.
        moves: pixels of the photo by which the content moves to the right; maps move by as many
            divided by their stride, bilinear.
    """

    name: str
    photos: Callable[[_Photos], _Photos]
    mirrors: bool = False
    moves: int = 0


def shift_photos(photos: _Photos) -> _Photos:
    """Everything one pixel to the right; the first column stays."""
    return np.concatenate([photos[:, :, :1], photos[:, :, :-1]], 2)


def flip(photos: _Photos) -> _Photos:
    """Left and right exchanged."""
    return photos[:, :, ::-1]


def brighten(photos: _Photos) -> _Photos:
    """`BRIGHTER` grey levels more, at most 255."""
    return np.minimum(photos.astype(np.float32) + BRIGHTER, 255).astype(photos.dtype)


def compress(photos: _Photos) -> _Photos:
    """To JPEG of quality `JPEG_QUALITY` and back."""
    found = np.empty_like(photos)
    for place, photo in enumerate(np.clip(np.rint(photos), 0, 255).astype(np.uint8)):
        file = io.BytesIO()
        Image.fromarray(photo).save(file, "JPEG", quality=JPEG_QUALITY)
        with Image.open(file) as decoded:
            found[place] = np.asarray(decoded)
    return found


TRANSFORMS = (
    Transform("shift", shift_photos, moves=1),
    Transform("flip", flip, mirrors=True),
    Transform("brightness", brighten),
    Transform("jpeg", compress),
)
"""The four changes. A channel that prefers one side is not stable under ``flip``, and healthy."""


def repeatability(maps: Floats, changed: Floats, transform: Transform, stride: float) -> Floats:
    """corr(T a(x), a(T x)) over the pixels of each map.

    Args:
        maps: float32 (N, H, W, C), a(x).
        changed: float32 (N, H, W, C), a(T x).
        transform: T. Where it moves the content, the columns at both sides are left out.
        stride: photo pixels per map pixel.

    Returns:
        float32 (N, C), -1 over 0 (nothing is left) to 1 (consistent); NaN where a(x) is constant
        or nothing remains without the sides, 0 where only a(T x) is constant.
    """
    from layerscope.measures.correlation_kernel import paired  # loads numba

    shift = transform.moves / stride
    return paired(maps, changed, transform.mirrors, shift, math.ceil(shift))
