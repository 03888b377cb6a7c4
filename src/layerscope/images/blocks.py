"""Sources of images that are already numbers: arrays, archives and streams of batches."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images import arrays
from layerscope.images.contract import Array, Row, Source, Wanted, grouped, source_of
from layerscope.images.labels import Labels, label_values
from layerscope.vocabulary import ImageBatch


def read_array(array: Array, y: Any, wanted: Wanted) -> Source:
    """An array (N, H, W, C) and its labels, if it has any; see `layerscope.images.source.read`."""
    images = arrays.as_images(array)
    _check_fit(images.shape, wanted)
    blocks = range(0, len(images), wanted.batch_size)
    return _read_blocks(
        lambda: (images[at : at + wanted.batch_size] for at in blocks), len(images), y, wanted
    )


def read_archive(archive: arrays.Archive, wanted: Wanted) -> Source:
    """An archive, read block by block."""
    _check_fit(archive.shape, wanted)
    rows = partial(arrays.archive_rows, archive, wanted.batch_size)
    return _read_blocks(rows, archive.shape[0], archive.labels, wanted)


def _read_blocks(
    blocks: Callable[[], Iterator[Array]], count: int, y: Any, wanted: Wanted
) -> Source:
    labels = label_values(y, count, wanted.outputs, wanted.classes)
    ids = tuple(map(str, range(count)))

    def batches(_: Source) -> Iterator[ImageBatch]:
        at = 0
        for block in blocks():
            here = slice(at, at + len(block))
            at += len(block)
            given = None if labels.values is None else labels.values[here]
            yield ImageBatch(block.astype(np.float32), ids[here], given)

    def part(places: Sequence[int]) -> Source:
        asked = np.asarray(places)

        def some(_: Source) -> Iterator[ImageBatch]:
            rows, start = dict[int, Array](), 0
            for block in blocks():
                here = asked[(asked >= start) & (asked < start + len(block))]
                rows |= {int(place): block[place - start] for place in here}
                start += len(block)
            for at in range(0, len(asked), wanted.batch_size):
                now = asked[at : at + wanted.batch_size]
                pixels = np.stack([rows[int(place)] for place in now]).astype(np.float32)
                given = None if labels.values is None else labels.values[now]
                yield ImageBatch(pixels, tuple(ids[place] for place in now), given)

        made = source_of(tuple(ids[i] for i in asked), labels.at(places), some)
        made._part = lambda fewer: part(asked[list(fewer)].tolist())
        made._digest = lambda: hashlib.sha256(f"{digest()} {asked.tolist()}".encode()).hexdigest()
        return made

    def digest() -> str:
        found = hashlib.sha256(labels.content)
        for block in blocks():
            found.update(f"{block.dtype} {block.shape};".encode() + block.tobytes())
        return found.hexdigest()

    return replace(source_of(ids, labels, batches, part), _digest=digest)


def _check_fit(shape: tuple[int, ...], wanted: Wanted) -> None:
    size, channels = shape[1:3], shape[3]
    if channels != wanted.channels or (wanted.size and size != wanted.size):
        takes = f"{wanted.size[0]} x {wanted.size[1]} x " if wanted.size else "H x W x "
        raise InputError(
            f"Arrays are used as given, so they must fit the model: it takes images of {takes}"
            f"{wanted.channels}, the array holds {size[0]} x {size[1]} x {channels}. "
            "Resize them first, for instance with layerscope.images.resize.resize."
        )


def read_stream(batches: Iterable[Any], wanted: Wanted) -> Source:
    """A stream of batches, read once."""
    groups = getattr(batches, "class_names", None)
    used = False

    def once(source: Source) -> Iterator[ImageBatch]:
        nonlocal used
        if used:
            raise InputError(
                "A stream of images is read once, since a second pass may come in another order; "
                "open it again for another pass."
            )
        used = True
        return grouped(_stream_rows(batches, groups, wanted, source), wanted.batch_size)

    return source_of(None, Labels(None), once)


def _stream_rows(
    batches: Iterable[Any], groups: Any, wanted: Wanted, source: Source
) -> Iterator[Row]:
    at, told = 0, list[Labels]()
    for images, y in arrays.stream(batches):
        _check_fit(images.shape, wanted)
        if y is not None and wanted.classes is None and arrays.as_array(y).dtype.kind in "USO":
            y = None  # one batch does not tell which place a name has among all
            source.label_mismatch = (
                "The labels are names, and no class names in output order are given."
            )
        labels = label_values(y, len(images), wanted.outputs, wanted.classes, groups)
        source.label_mismatch = source.label_mismatch or labels.mismatch
        source.class_names = source.class_names or labels.names
        told.append(labels)
        for place, pixels in enumerate(images):
            label = None if labels.values is None else int(labels.values[place])
            yield Row(pixels, str(at), label)
            at += 1
    if any(labels.several is not None for labels in told):
        source.several = _together(told)
        source.label_mismatch = source.label_mismatch or (
            "" if source.several is not None else "Not all batches have labels of one form."
        )


def _together(told: Sequence[Labels]) -> NDArray[np.bool_] | None:
    """Labels of all images of a stream of which some have several; ``None`` if they do not fit."""
    width = next(labels.several.shape[1] for labels in told if labels.several is not None)
    rows = list[NDArray[np.bool_]]()
    for labels in told:
        if labels.several is not None:
            rows.append(labels.several)
        elif labels.values is None or not labels.in_rows:
            return None
        else:  # in this batch each image happens to have one label
            rows.append(np.eye(width, dtype=bool)[labels.values])
    return np.concatenate(rows)
