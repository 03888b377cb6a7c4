"""A rectangle in an image, as users write it."""

from collections.abc import Sequence
from typing import TypeAlias

from layerscope.errors import InputError

Region: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 as fractions 0..1 of the image, origin top left."""


def shares(box: Sequence[float], size: tuple[int, int]) -> Region:
    """A box in pixels, x0, y0, x1, y1, of an image of that height and width, as a region."""
    (x0, y0, x1, y1), (height, width) = box, size
    return x0 / width, y0 / height, x1 / width, y1 / height


def read_region(given: str | Sequence[float]) -> Region:
    """Read ``X0,Y0,X1,Y1``, or take four numbers.

    Raises:
        InputError: they are no numbers, not four, outside 0 to 1, or hold nothing.
    """
    try:
        ends = [float(end) for end in (given.split(",") if isinstance(given, str) else given)]
    except (TypeError, ValueError):
        ends = []
    inside = len(ends) == 4 and all(0 <= end <= 1 for end in ends)  # false for NaN
    if not inside or not (ends[0] < ends[2] and ends[1] < ends[3]):
        shown = given if isinstance(given, str) else ",".join(map(str, given))
        raise InputError(
            "A region is X0,Y0,X1,Y1: fractions 0 to 1 of the image, from its upper left corner, "
            f"with X0 < X1 and Y0 < Y1; got {shown}."
        )
    return ends[0], ends[1], ends[2], ends[3]
