"""What excites a channel most, cut out of the images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from layerscope.images import Source
from layerscope.measures.depth import seen_by
from layerscope.profile import Profile
from layerscope.run.closer import Tones, coloured
from layerscope.vocabulary import Floats, Layer

Bytes = NDArray[np.uint8]
Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
EXEMPLARS = 4
"""Images for a channel."""
SMALLEST = 24
"""Pixels of the image around a point, so that one sees what a field of a few pixels lies in."""
LARGEST = 72
"""Pixels that the longer side of a crop is kept with."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """Where in the images a channel answers most strongly.

    Attributes:
        crop: that place, uint8 (h, w, 3).
        seen: what one pixel of the map sees of it: x0, y0, x1, y1 as shares of the crop.
        image: name of the image.
        score: the value of the map there.
    """

    crop: Bytes = field(repr=False)
    seen: Box
    image: str
    score: float


def exciting(
    asked: Mapping[str, Sequence[int]],
    layers: Mapping[str, Layer],
    source: Source,
    profile: Profile,
    tones: Tones,
) -> dict[tuple[str, int], tuple[Exemplar, ...]]:
    """Cut out what excites some channels most; each image is read once for all of them.

    Args:
        asked: layer path -> channels.
        layers: the row of each layer.
        source: the images of the profile.
        profile: knows where the channels answer most strongly.
        tones: how pixels become grey levels.

    Returns:
        (layer path, channel) -> `EXEMPLARS` at most, the strongest first.
    """
    at: dict[int, list[tuple[str, int, int]]] = {}
    for path, channels in asked.items():
        for channel in channels:
            for rank, place in enumerate(profile.exemplars[path]["top_image"][:EXEMPLARS, channel]):
                if place >= 0:
                    at.setdefault(int(place), []).append((path, channel, rank))
    names = profile.images["id"].astype(str).to_numpy()
    found: dict[tuple[str, int], dict[int, Exemplar]] = {}
    for place, image in pixels_at(source, list(at)):
        rgb = to_rgb(image, tones)
        for path, channel, rank in at[place]:
            row, column, score = (
                profile.exemplars[path][f"top_{key}"][rank, channel]
                for key in ("row", "column", "score")
            )
            crop, seen = cut(rgb, layers[path], int(row), int(column))
            one = Exemplar(crop, seen, str(names[place]), float(score))
            found.setdefault((path, channel), {})[rank] = one
    return {key: tuple(ranks[rank] for rank in sorted(ranks)) for key, ranks in found.items()}


def pixels_at(source: Source, places: Sequence[int]) -> Iterator[tuple[int, Floats]]:
    """The images at some places, before preprocessing, those of them that can be read."""
    if not places:
        return
    some = sorted(set(places))
    part = source.part(some)
    at = dict(zip(part.ids or (), some, strict=True))
    for batch in part:
        yield from zip((at[name] for name in batch.ids), batch.pixels, strict=True)


def to_rgb(image: Floats, tones: Tones) -> Bytes:
    """One image (H, W, C) to look at, uint8 (H, W, 3)."""
    photo = coloured(tones.photos(image[None]))[0]
    return np.asarray(np.clip(np.rint(photo), 0, 255), np.uint8)


def cut(rgb: Bytes, layer: Layer, row: int, column: int) -> tuple[Bytes, Box]:
    """Cut out what one pixel of a map sees, with some of its surroundings if that is little.

    Args:
        rgb: uint8 (H, W, 3), the whole image.
        layer: the layer of the map.
        row: of the pixel.
        column: of the pixel.

    Returns:
        uint8 (h, w, 3), and what the pixel sees as shares of it: x0, y0, x1, y1.
    """
    sides = rgb.shape[:2]
    # Where the size of a map depends on the image, it has one pixel for each step of the layer.
    size = [
        own or -(-side // (layer.stride or 1))
        for own, side in zip(layer.shape[:2], sides, strict=True)
    ]
    seen = seen_by(layer, row, column, (int(size[0]), int(size[1])))
    left, right = _window(seen[0] * sides[1], seen[2] * sides[1], sides[1])
    top, bottom = _window(seen[1] * sides[0], seen[3] * sides[0], sides[0])
    x0, x1 = ((share * sides[1] - left) / (right - left) for share in seen[::2])
    y0, y1 = ((share * sides[0] - top) / (bottom - top) for share in seen[1::2])
    # All but the parts of pixels at its edges.
    whole = (x1 - x0) * (right - left) > right - left - 2 and (y1 - y0) * (
        bottom - top
    ) > bottom - top - 2
    return _shrunk(rgb[top:bottom, left:right]), WHOLE if whole else (x0, y0, x1, y1)


def _window(low: float, high: float, side: int) -> tuple[int, int]:
    """Whole pixels that hold a range, `SMALLEST` at least as far as there are so many."""
    length = min(side, max(SMALLEST, int(np.ceil(high)) - int(np.floor(low))))
    first = min(max(0, round((low + high - length) / 2)), side - length)
    return first, first + length


def _shrunk(rgb: Bytes) -> Bytes:
    height, width = rgb.shape[:2]
    share = LARGEST / max(height, width)
    if share >= 1:
        return rgb.copy()
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX), np.uint8)
