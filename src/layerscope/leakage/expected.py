"""What a user declares to belong to a class, such as a printed sign or its colour."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from skimage.feature import match_template

from layerscope.errors import InputError
from layerscope.images.region import Region, read_region
from layerscope.leakage.copies import Copies
from layerscope.leakage.properties import NAMES
from layerscope.vocabulary import Floats

COVERED = 0.7
"""Share of the box of a pattern that lies in a declared region."""
ALIKE = 0.6
"""Correlation with a declared mark."""
_SIZES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.25)
"""Of a declared mark, as the root of its area over that of the pattern."""


@dataclass(frozen=True)
class Expected:
    """A region of the image, the looks of a mark, or a property of whole images.

    Attributes:
        words: as the user wrote it.
        region: x0, y0, x1, y1 as shares of the image; ``None`` for a mark.
        mark: (h, w, 2), its grey values and its alpha, both 0..255; ``None`` for others.
        look: name of the property; empty for others.
    """

    words: str
    region: Region | None = None
    mark: Floats | None = field(default=None, repr=False)
    look: str = ""


def expected(words: str) -> Expected:
    """Read what a user declared.

    Args:
        words: ``X0,Y0,X1,Y1`` (shares of the image, origin top left), the name of a property of
            whole images (`NAMES`), or the path of a picture.

    Raises:
        InputError: it is none of these.
    """
    if words in NAMES:
        return Expected(words, look=words)
    if words.count(",") == 3:
        return Expected(words, read_region(words))
    try:
        with Image.open(Path(words).expanduser()) as image:
            return Expected(words, mark=np.asarray(image.convert("RGBA").convert("LA"), np.float32))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            "An expected pattern is a region X0,Y0,X1,Y1, a picture, or one of "
            f"{', '.join(NAMES)}; '{words}' is none of these ({error})."
        ) from None


def is_expected(copies: Copies, size: tuple[int, int], declared: Sequence[Expected]) -> bool:
    """Whether the pattern of a class is one of those declared.

    Args:
        copies: the pattern.
        size: height and width of the images.
        declared: regions and marks.
    """
    return any(
        _inside(copies.box, size, one.region) if one.region else _alike(copies.mark, one.mark)
        for one in declared
        if not one.look
    )


def _inside(
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    region: Region,
) -> bool:
    height, width = size
    x0, y0, x1, y1 = (end * side for end, side in zip(region, (width, height) * 2, strict=True))
    across = max(0.0, min(box[2], x1) - max(box[0], x0))
    down = max(0.0, min(box[3], y1) - max(box[1], y0))
    return bool(across * down >= COVERED * (box[2] - box[0]) * (box[3] - box[1]))


def _alike(found: Floats, mark: Floats | None) -> bool:
    """Whether a mark lies somewhere in a pattern, at any size near the pattern's own."""
    if mark is None:
        return False
    pattern = found.mean(-1).astype(np.float64)
    edge = np.concatenate([pattern[0], pattern[-1], pattern[:, 0], pattern[:, -1]])
    behind, sides = float(np.median(edge)), np.array(pattern.shape)
    # The box may be larger than the mark, or cut it off.
    padded = np.pad(pattern, [(side // 2 + 1,) * 2 for side in sides], constant_values=behind)
    scale = float(np.sqrt(np.prod(sides / np.array(mark.shape[:2]))))
    for factor in (1.0, *(scale * one for one in _SIZES)):
        size = np.maximum(np.round(np.array(mark.shape[:2]) * factor), 3).astype(int)
        if (size <= padded.shape).all() and _best(padded, _upon(mark, size, behind)) >= ALIKE:
            return True
    return False


def _upon(mark: Floats, size: NDArray[Any], behind: float) -> NDArray[np.float64]:
    """A mark at some size, its transparent parts as bright as what lies behind."""
    grey, alpha = (
        np.asarray(
            Image.fromarray(np.ascontiguousarray(mark[..., at])).resize(
                (int(size[1]), int(size[0])), Image.Resampling.BILINEAR
            ),
            np.float64,
        )
        for at in (0, 1)
    )
    return grey * alpha / 255 + behind * (1 - alpha / 255)


def _best(pattern: NDArray[Any], mark: NDArray[Any]) -> float:
    """The highest correlation of a mark with a part of a pattern."""
    return float(np.nanmax(match_template(pattern, mark))) if np.ptp(mark) > 0 else 0.0
