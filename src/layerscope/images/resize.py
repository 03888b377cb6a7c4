"""Bring images to the size of a model, with the numbers that Keras' own loader would give.

``tf.image.resize`` (bilinear, half-pixel centres, no antialias) is what
``keras.utils.image_dataset_from_directory`` trains with, so it is what a model should see here.
Each output pixel needs two rows and two columns; only those are touched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images.decode import Pixels
from layerscope.vocabulary import Floats

How = Literal["stretch", "crop", "letterbox"]
Scale = Callable[[Pixels, Floats], None]
"""Fill the second, (h, w, C), from the first."""

HOWS: tuple[How, ...] = get_args(How)


def resize(
    pixels: Pixels,
    size: tuple[int, int],
    how: str = "stretch",
    *,
    out: Floats | None = None,
    compiled: bool = False,
) -> Floats:
    """Resize one image.

    Args:
        pixels: (H, W, C), any real dtype.
        size: height and width of the result, in pixels.
        how: ``stretch`` changes the aspect ratio; ``crop`` first cuts the largest centred part of
            the wanted aspect ratio, as ``crop_to_aspect_ratio=True`` of the Keras loader does;
            ``letterbox`` keeps everything and adds zeros, as ``pad_to_aspect_ratio=True`` does.
        out: where to write the result, contiguous; by default a new array.
        compiled: use compiled code where there is some: the same result sooner, after about a
            second of loading it. For long runs.

    Returns:
        float32 of shape ``(*size, C)`` in the range of the input; the input is unchanged.

    Raises:
        InputError: ``how`` is none of these, or a side of the size is below 1.
    """
    if how not in HOWS:
        raise InputError(f"Resizing is one of {', '.join(HOWS)}; got {how!r}.")
    if min(size) < 1:
        raise InputError(f"An image size is two numbers of at least 1; got {size}.")
    scale = _compiled() if compiled else _bilinear
    if out is None:
        out = np.empty((*size, pixels.shape[2]), np.float32)
    if how == "letterbox":
        _letterbox(pixels, scale, out)
    else:
        scale(_centre(pixels, size) if how == "crop" else pixels, out)
    return out


def _centre(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    crop_height = max(min(height, width * size[0] // size[1]), 1)
    crop_width = max(min(width, height * size[1] // size[0]), 1)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    return pixels[top : top + crop_height, left : left + crop_width]


def _letterbox(pixels: Pixels, scale: Scale, out: Floats) -> None:
    # In float32 and rounded down at the same places as tf.image.resize_with_pad, which may make
    # the picture one pixel smaller than exact arithmetic would.
    have, want = (np.array(shape[:2], np.float32) for shape in (pixels.shape, out.shape))
    exact = have / np.max(have / want)
    height, width = np.maximum(np.floor(exact), 1).astype(int)
    top, left = np.maximum(np.floor((want - exact) / np.float32(2)), 0).astype(int)
    inner = np.empty((height, width, pixels.shape[2]), np.float32)
    scale(pixels, inner)
    out[:] = 0
    out[top : top + height, left : left + width] = inner


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the positions of one output axis lie between those of the input axis."""

    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    weight: Floats  # of the upper one


@lru_cache(maxsize=256)
def _places(have: int, want: int, channels: int = 1) -> _Places:
    """Half-pixel centres in float32, as TensorFlow computes them; each channel a position."""
    scale = np.float32(have) / np.float32(want)
    centre = (np.arange(want, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    floor = np.floor(centre)
    lower = np.maximum(floor, 0).astype(np.intp)
    upper = np.minimum(np.ceil(centre), have - 1).astype(np.intp)
    channel = np.arange(channels)
    return _Places(
        (lower[:, None] * channels + channel).ravel(),
        (upper[:, None] * channels + channel).ravel(),
        np.repeat(centre - floor, channels),
    )


_BLOCK = 32
"""Output rows made at a time: few enough for the intermediate rows to stay in the cache, and
below the size at which each allocation costs new pages."""


def _bilinear(pixels: Pixels, out: Floats) -> None:
    height, width, channels = pixels.shape
    if pixels.shape == out.shape:
        out[:] = pixels
        return
    down, across = _places(height, out.shape[0]), _places(width, out.shape[1], channels)
    lines = np.ascontiguousarray(pixels).reshape(height, width * channels)
    result = out.reshape(out.shape[0], -1)
    for start in range(0, len(result), _BLOCK):
        rows = slice(start, start + _BLOCK)
        above = lines.take(down.lower[rows], 0).astype(np.float32)
        between = lines.take(down.upper[rows], 0).astype(np.float32)
        between -= above
        between *= down.weight[rows, None]
        between += above
        left = between.take(across.lower, 1)
        block = between.take(across.upper, 1, out=result[rows], mode="clip")  # clip: no buffer
        block -= left
        block *= across.weight
        block += left


@cache
def _compiled() -> Scale:
    """Load the compiled code; without numba, or for what it does not cover, numpy goes on."""
    try:
        from layerscope.images.resize_kernel import bilinear
    except ImportError:
        return _bilinear

    def scale(pixels: Pixels, out: Floats) -> None:
        height, width, channels = pixels.shape
        if pixels.dtype != np.uint8 or channels != 3 or pixels.shape == out.shape:
            return _bilinear(pixels, out)
        places = _places(height, out.shape[0]), _places(width, out.shape[1])
        return bilinear(pixels, out, *places)

    return scale
