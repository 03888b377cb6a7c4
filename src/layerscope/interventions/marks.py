"""Marks pasted onto images, and what stands beside them to tell a mark from its mere presence.

Everything happens on raw pixels at the size that the model sees, before preprocessing. A mark keeps
its native pixels and its transparency.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from layerscope.errors import InputError
from layerscope.images.arrays import is_picture
from layerscope.images.decode import FORMATS, decode
from layerscope.images.region import Region, read_region
from layerscope.vocabulary import Floats

Places: TypeAlias = NDArray[np.int64]

UNLABELLED = (
    "A region is taken from images of one class and pasted into those of others, so it takes "
    "labelled images: one folder per class, or a CSV path,label; these are not labelled"
)
LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey (ITU-R BT.601), as for image files."""


@dataclass(frozen=True)
class Mark:
    """A small picture to paste.

    Attributes:
        rgb: float32 (h, w, 3), 0 to 255.
        alpha: float32 (h, w), 0 (unseen) to 1 (opaque).
    """

    rgb: Floats = field(repr=False)
    alpha: Floats = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.alpha.shape[0]), int(self.alpha.shape[1])

    @property
    def colour(self) -> Floats:
        """Mean colour, (3,), each pixel by its alpha."""
        weight = self.alpha[..., None].astype(np.float64)
        return np.asarray((self.rgb * weight).sum((0, 1)) / weight.sum(), np.float32)

    def colours(self, channels: int) -> Floats:
        """The pixels for images of so many channels, (h, w, channels): grey for all but 3."""
        if channels == 3:
            return self.rgb
        grey = self.rgb @ np.array(LUMINANCE, np.float32)
        return np.repeat(grey[..., None], channels, 2)


Given: TypeAlias = str | PathLike[str] | Image.Image | NDArray[Any] | Mark
"""A mark as users have it, see `read_mark`."""


def read_mark(given: Given) -> Mark:
    """Read a mark.

    Args:
        given: an image file, a Pillow image, or uint8 (h, w), (h, w, 3) or (h, w, 4), the fourth
            being the alpha. What holds no alpha is opaque.

    Raises:
        InputError: it cannot be read, or all of it is transparent.
    """
    if isinstance(given, Mark):
        return _seen(given)
    if is_picture(given):
        return _of_rgba(np.asarray(given.convert("RGBA")))  # type: ignore[union-attr]
    if isinstance(given, str | PathLike):
        return _of_file(Path(given))
    pixels = np.asarray(given)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise InputError(
            "A mark is an image file, a Pillow image, or an array of uint8 (h, w, 3) or (h, w, 4); "
            f"got {type(given).__name__} of {pixels.dtype} and shape {pixels.shape}."
        )
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2)
    if pixels.shape[2] not in (3, 4):
        raise InputError(
            f"A mark has 1, 3 or 4 channels; got {pixels.shape[2]}. Give (h, w, 3) or (h, w, 4)."
        )
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return _of_rgba(pixels if pixels.shape[2] == 4 else np.concatenate([pixels, opaque], 2))


def _of_file(path: Path) -> Mark:
    rgb: Floats = decode(path).pixels.astype(np.float32)  # says what is wrong with a file
    with Image.open(path, formats=FORMATS) as image:
        if not image.has_transparency_data:
            return Mark(rgb, np.ones_like(rgb[..., 0]))
        rgba = ImageOps.exif_transpose(image).convert("RGBA")
    return _of_rgba(np.asarray(rgba))


def _of_rgba(pixels: NDArray[np.uint8]) -> Mark:
    values: Floats = pixels.astype(np.float32)
    return _seen(Mark(values[..., :3], values[..., 3] / np.float32(255)))


def _seen(mark: Mark) -> Mark:
    if not mark.alpha.any():
        raise InputError(
            "A mark has pixels that can be seen, and all of this one are transparent (alpha 0)."
        )
    return mark


def block(mark: Mark) -> Mark:
    """A plain block in place of a mark: as large, as bright, and with nothing drawn in it.

    It fills the box around all that can be seen of the mark with the mark's mean colour, at the
    mark's mean alpha in that box, so that the sum of alpha stays. Under an opaque mark that is a
    block of the mean colour.
    """
    rows, columns = _box(mark)
    alpha = np.zeros_like(mark.alpha)
    alpha[rows, columns] = mark.alpha[rows, columns].mean()
    return Mark(np.broadcast_to(mark.colour, mark.rgb.shape).copy(), alpha)


def shuffled(mark: Mark, random: np.random.Generator) -> Mark:
    """The mark with the pixels of its box, colour and alpha together, in random order."""
    rows, columns = _box(mark)
    rgb, alpha = mark.rgb.copy(), mark.alpha.copy()
    inside = alpha[rows, columns]
    order = random.permutation(inside.size)
    alpha[rows, columns] = inside.ravel()[order].reshape(inside.shape)
    rgb[rows, columns] = rgb[rows, columns].reshape(-1, 3)[order].reshape(*inside.shape, 3)
    return replace(mark, rgb=rgb, alpha=alpha)


def _box(mark: Mark) -> tuple[slice, slice]:
    """Rows and columns around everything that is not wholly transparent."""
    rows, columns = (np.flatnonzero((mark.alpha > 0).any(axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def marked(
    images: Floats, marks: Sequence[Mark], places: Places, black: float = 0, step: float = 1
) -> Floats:
    """Copies of images with a mark on each.

    Args:
        images: float32 (n, H, W, C).
        marks: one for each image, at most as large.
        places: (n, 2), y and x of the upper left corner.
        black: the value of a black pixel of the images.
        step: how much of their values one of the 255 steps from black to white is.

    Returns:
        float32 (n, H, W, C): image + alpha (mark - image) under the mark.
    """
    made = np.array(images, np.float32)
    for image, mark, (y, x) in zip(made, marks, places.tolist(), strict=True):
        height, width = mark.size
        under = image[y : y + height, x : x + width]
        colours = mark.colours(image.shape[2]) * np.float32(step) + np.float32(black)
        under += mark.alpha[..., None] * (colours - under)
    return made


def places_of(
    mark: Mark,
    sides: tuple[int, int],
    count: int,
    at: tuple[float, float] | None = None,
    random: np.random.Generator | None = None,
) -> Places:
    """Where a mark goes in some images, (count, 2): y and x of its upper left corner.

    Args:
        mark: the mark.
        sides: height and width of the images.
        count: how many.
        at: x and y of that corner as fractions 0..1 of the image; a mark that would reach over the
            right or lower edge is moved inwards. ``None``: in the middle.
        random: if given, a place drawn anew for each image instead.

    Raises:
        InputError: the mark is larger than the images.
    """
    room = np.array(sides) - mark.size
    if (room < 0).any():
        raise InputError(
            f"A mark is pasted at its own size, so it is at most as large as the model's input: "
            f"{mark.size[1]} x {mark.size[0]} pixels do not fit on {sides[1]} x {sides[0]}. Make "
            "it smaller."
        )
    if random is not None:
        return np.floor(random.random((count, 2)) * (room + 1)).astype(np.int64)
    corner = room // 2
    if at is not None:
        corner = np.minimum(np.rint(np.array(sides) * at[::-1]).astype(np.int64), room)
    return np.tile(corner.astype(np.int64), (count, 1))


def box_of(region: Region, sides: tuple[int, int]) -> tuple[int, int, int, int]:
    """A region in pixels: x0, y0, x1, y1, at least one pixel wide and high.

    Args:
        region: see `Region`.
        sides: height and width of the image.
    """
    ends = []
    for low, high, side in ((region[0], region[2], sides[1]), (region[1], region[3], sides[0])):
        first = min(round(low * side), side - 1)
        ends.append((first, max(first + 1, round(high * side))))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def check_asked(
    mark: bool, region: bool, from_class: bool, at: Sequence[float] | None, roam: bool
) -> None:
    """Refuse a question that is no question.

    Raises:
        InputError: neither or both of mark and region; a region without a class, or the reverse; a
            place for a region.
    """
    if mark == region:
        what = "both" if mark else "neither"
        raise InputError(
            f"A probe pastes either a mark (--mark) or a region of a class (--region); got {what}."
        )
    if region != from_class:
        raise InputError(
            "A region is taken from the images of one class, so --region and --from-class go "
            f"together; got only {'--region' if region else '--from-class'}."
        )
    if region and (at is not None or roam):
        raise InputError("A region is pasted where it was, so --at and --roam go with --mark only.")


def check_place(
    at: Sequence[float] | None, roam: bool, region: str | Sequence[float] | None
) -> tuple[tuple[float, float] | None, Region | None]:
    """A place and a region as given, checked.

    Raises:
        InputError: too few or too many numbers, a number outside 0 to 1, an empty region, or a
            place for a mark that roams.
    """
    if at is not None and roam:
        raise InputError("A mark goes to one place (--at) or to random ones (--roam), not both.")
    if at is not None and not (len(at) == 2 and _fractions(at)):
        raise InputError(
            "A place is X,Y: fractions 0 to 1 of the model's input, from its upper left corner; "
            f"got {_written(at)}."
        )
    place = None if at is None else (float(at[0]), float(at[1]))
    return place, None if region is None else read_region(region)


def _fractions(numbers: Sequence[float]) -> bool:
    return all(0 <= number <= 1 for number in numbers)  # false for NaN


def _written(numbers: Sequence[float]) -> str:
    return ",".join(f"{number:g}" for number in numbers)
