"""Images in shards of a fixed size, the next one read while this one is computed."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.feed import check_finite
from layerscope.images import Source
from layerscope.run.plan import SHARD
from layerscope.vocabulary import Floats, ImageBatch, Skipped

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Some consecutive images.

    Attributes:
        number: from 0.
        start, stop: the places of its images, in the order of all images.
        images: float32 (H, W, C) each, before preprocessing, of those that could be read.
        ids: their names.
        labels: their classes, -1 where unknown; ``None`` if the set is unlabelled.
        places: where each stands in the order of all images.
        skipped: those that could not be read.
    """

    number: int
    start: int
    stop: int
    images: Sequence[Floats] = field(repr=False)
    ids: tuple[str, ...]
    labels: NDArray[np.int64] | None
    places: NDArray[np.int64]
    skipped: tuple[Skipped, ...] = ()

    def stacked(self, part: slice) -> Floats:
        """Images of one shape as one array (N, H, W, C).

        Raises:
            InputError: a pixel is not finite.
        """
        pixels = np.stack(self.images[part])
        check_finite(pixels, self.ids[part])
        return pixels


def batches(images: Sequence[Floats], size: int) -> Iterator[slice]:
    """Slices of up to ``size`` neighbours that have one shape."""
    at = 0
    while at < len(images):
        stop = at + 1
        while stop < min(at + size, len(images)) and images[stop].shape == images[at].shape:
            stop += 1
        yield slice(at, stop)
        at = stop


def read_shards(source: Source, first: int = 0) -> Iterator[Shard]:
    """All images from a shard on.

    Args:
        source: files and arrays can begin at any shard, a stream only at the first.
        first: number of the shard to begin with.

    Raises:
        InputError: not one image of the set could be read.
    """
    return ahead(_of_stream(source) if source.length is None else _of_known(source, first))


def ahead(items: Iterator[Item]) -> Generator[Item, None, None]:
    """The same items, each made in a thread of its own while the one before it is used."""
    with ThreadPoolExecutor(1) as maker:
        coming: Future[Item | None] = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


def _of_known(source: Source, first: int) -> Iterator[Shard]:
    """Shards of a set whose length is known, read once from the first image to the last."""
    count, begin = source.length or 0, first * SHARD
    if begin >= count:
        return
    part = source.part(range(begin, count)) if begin else source
    ids, rows, number = part.ids or (), dict[int, ImageBatch](), first
    for place, row in _placed(part, ids, begin):
        while place >= (number + 1) * SHARD:
            yield _filled(number, count, rows, part, begin)
            number, rows = number + 1, {}
        rows[place] = row
    while number * SHARD < count:
        yield _filled(number, count, rows, part, begin)
        number, rows = number + 1, {}


def _placed(part: Source, ids: Sequence[str], begin: int) -> Iterator[tuple[int, ImageBatch]]:
    """Each image that can be read, with its place in the order of all images."""
    at = 0
    try:
        for batch in part:
            for i, name in enumerate(batch.ids):
                while ids[at] != name:
                    at += 1
                label = None if batch.labels is None else batch.labels[i : i + 1]
                yield begin + at, ImageBatch(batch.pixels[i : i + 1], (name,), label)
                at += 1
    except InputError:
        # Nothing is left to read, but an earlier process has read something.
        if not begin or len(part.skipped) < len(ids):
            raise


def _filled(
    number: int, count: int, rows: Mapping[int, ImageBatch], part: Source, begin: int
) -> Shard:
    start, stop = number * SHARD, min(count, (number + 1) * SHARD)
    reasons = {item.file: item for item in part.skipped}
    ids = part.ids or ()
    lost = [ids[place - begin] for place in range(start, stop) if place not in rows]
    skipped = tuple(reasons.get(name, Skipped(name, "it could not be read")) for name in lost)
    return _shard(number, start, stop, list(rows.values()), list(rows), skipped)


def _of_stream(source: Source) -> Iterator[Shard]:
    number, rows = 0, list[ImageBatch]()
    for batch in source:
        for i in range(len(batch)):
            label = None if batch.labels is None else batch.labels[i : i + 1]
            rows.append(ImageBatch(batch.pixels[i : i + 1], batch.ids[i : i + 1], label))
            if len(rows) == SHARD:
                start = number * SHARD
                yield _shard(number, start, start + SHARD, rows, range(start, start + SHARD))
                number, rows = number + 1, []
    if rows:
        start = number * SHARD
        places = range(start, start + len(rows))
        yield _shard(number, start, start + len(rows), rows, places)


def _shard(
    number: int,
    start: int,
    stop: int,
    read: Sequence[ImageBatch],
    places: Sequence[int],
    skipped: tuple[Skipped, ...] = (),
) -> Shard:
    labels = [batch.labels for batch in read if batch.labels is not None]
    return Shard(
        number,
        start,
        stop,
        [image for batch in read for image in batch.pixels],
        tuple(name for batch in read for name in batch.ids),
        np.concatenate(labels) if read and len(labels) == len(read) else None,
        np.array(places, np.int64),
        skipped,
    )
