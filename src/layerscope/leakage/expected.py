"""Patterns that a user declares to belong to a class, such as a printed sign."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from layerscope.errors import InputError
from layerscope.images.region import Region, read_region
from layerscope.leakage.copies import Copies
from layerscope.vocabulary import Floats

COVERED = 0.7
"""Share of the box of a pattern that lies in a declared region."""
ALIKE = 0.6
"""Correlation with a declared mark."""


@dataclass(frozen=True)
class Expected:
    """A region of the image, or the looks of a mark.

    Attributes:
        words: as the user wrote it.
        region: x0, y0, x1, y1 as shares of the image; ``None`` for a mark.
        mark: (h, w), its grey values; ``None`` for a region.
    """

    words: str
    region: Region | None = None
    mark: Floats | None = field(default=None, repr=False)


def expected(words: str) -> Expected:
    """Read ``X0,Y0,X1,Y1`` (shares of the image, origin top left) or the path of a picture.

    Raises:
        InputError: it is neither.
    """
    if words.count(",") == 3:
        return Expected(words, read_region(words))
    try:
        with Image.open(Path(words).expanduser()) as image:
            grey = image.convert("RGBA").convert("LA").getchannel(0)
            return Expected(words, mark=np.asarray(grey, np.float32))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"An expected pattern is a region X0,Y0,X1,Y1 or a picture; '{words}' is neither "
            f"({error})."
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
    if mark is None:
        return False
    grey = Image.fromarray(found.mean(-1).astype(np.float32))
    own = np.asarray(grey.resize(mark.shape[::-1], Image.Resampling.BILINEAR), np.float64)
    own, other = own - own.mean(), mark - mark.mean()
    length = float(np.sqrt((own**2).sum() * (other**2).sum()))
    return bool(length > 0 and (own * other).sum() >= ALIKE * length)
