"""Some images in memory as they are before preprocessing, for changes of their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.feed import from_source
from layerscope.images import Source
from layerscope.run.closer import Tones
from layerscope.vocabulary import Floats, Skipped

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """Images to paste onto.

    Attributes:
        pixels: one array (H, W, C) each, raw.
        ids: their names.
        photos: what each was cut from.
        labels: (N,), -1 where unknown.
        tones: what black and white are in them.
        given: how many there were to choose from; ``None`` for a stream.
        skipped: files that could not be used.
    """

    pixels: list[Floats] = field(repr=False)
    ids: tuple[str, ...]
    photos: NDArray[Any]
    labels: Indices
    tones: Tones
    given: int | None
    skipped: tuple[Skipped, ...]

    def at(self, places: Indices) -> Floats:
        """The images at some places, all of one size, (n, H, W, C)."""
        return np.stack([self.pixels[place] for place in places])

    def shapes(self) -> Iterator[Indices]:
        """Places of the images of one size, size by size."""
        shapes = np.array([str(image.shape) for image in self.pixels])
        for shape in dict.fromkeys(shapes.tolist()):
            yield np.flatnonzero(shapes == shape)

    def parts(self, rows: int) -> Iterator[Indices]:
        """Places of so many images at most, of one size."""
        for group in self.shapes():
            yield from (group[start : start + rows] for start in range(0, len(group), rows))


def pool_of(source: Source, most: int, levels: bool) -> Pool:
    """Read images, evenly spread, or of a stream the first.

    Args:
        source: the images.
        most: so many at most.
        levels: whether they are known to hold grey levels 0..255; else that is told from them.
    """
    batches = list(from_source(source, None, most))
    pixels = [np.asarray(image, np.float32) for batch in batches for image in batch.pixels]
    ids = tuple(name for batch in batches for name in batch.ids)
    labels = [
        np.full(len(batch.ids), -1) if batch.labels is None else batch.labels for batch in batches
    ]
    whole = dict(zip(source.ids or (), source.photos or (), strict=False))
    photos = np.array([whole.get(name, name) for name in ids])
    tones = Tones(0, 1) if levels else Tones.of(pixels)
    known = np.concatenate(labels).astype(np.int64)
    return Pool(pixels, ids, photos, known, tones, source.length, batches[-1].skipped)
