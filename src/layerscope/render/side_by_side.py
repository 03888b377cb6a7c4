"""Pictures of what was pasted, and of images before and after."""

from collections.abc import Sequence

import numpy as np

from layerscope.document.colour import Bytes
from layerscope.document.parts import Picture
from layerscope.interventions.marks import Mark, marked
from layerscope.render.sheet import fitted

SIDE, GAP = 224, 8
"""Of the picture of an image, and between two of them, in pixels."""


def side_by_side(pictures: Sequence[Bytes]) -> Bytes:
    """Pictures in a row, white between them."""
    tall = max(one.shape[0] for one in pictures)
    wide = sum(one.shape[1] for one in pictures) + GAP * (len(pictures) - 1)
    sheet = np.full((tall, wide, 3), 255, np.uint8)
    x = 0
    for one in pictures:
        sheet[: one.shape[0], x : x + one.shape[1]] = one
        x += one.shape[1] + GAP
    return sheet


def thumbnail(rgb: Bytes) -> Bytes:
    """A picture that fits into a square of `SIDE` pixels."""
    return fitted(rgb, SIDE, SIDE)


def enlarged(rgb: Bytes) -> Bytes:
    """Small pictures enlarged by a whole factor."""
    return fitted(rgb, max(SIDE, rgb.shape[1]), max(SIDE // 2, rgb.shape[0]))


def alone(mark: Mark, words: str) -> Picture:
    """A mark on grey, on which white and black are both seen."""
    grey = np.full((*mark.size, 3), 110, np.float32)
    made = marked(grey[None], [mark], np.zeros((1, 2), np.int64))[0]
    rgb = np.clip(np.rint(made), 0, 255).astype(np.uint8)
    return Picture(enlarged(rgb), f"{words}, on grey", words)
