"""Batches on their way into a model, and maps on their way out: both one batch at a time."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images import Preprocessing, Source
from layerscope.vocabulary import Floats, ImageBatch, Maps, Skipped

Array = np.ndarray


@dataclass(frozen=True)
class Batch:
    """Images ready for a model.

    Attributes:
        inputs: one array per input of the model, batch first.
        ids: one stable name per image.
        pixels: the images as they came, before preprocessing; empty if no input is an image.
        skipped: files left out up to here; complete with the last batch.
        notes: by id, what was done to a file that its owner may not expect; likewise.
        more: the images end here because no more were wanted, not because there are no more.
        labels: class index per image, -1 where unknown; ``None`` where there are none.
    """

    inputs: list[Array]
    ids: tuple[str, ...]
    pixels: list[Array]
    skipped: tuple[Skipped, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    more: bool = False
    labels: NDArray[np.int64] | None = None


def from_inputs(
    arrays: Sequence[Array], batch_size: int, most: int | None = None
) -> Iterator[Batch]:
    """Arrays for each input of a model, used exactly as given.

    Args:
        arrays: one per input.
        batch_size: images in one batch.
        most: if set, so many at most, evenly spread.

    Raises:
        InputError: they differ in length.
    """
    counts = [len(x) for x in arrays]
    if len(set(counts)) > 1:
        raise InputError(f"All inputs need the same number of images, and {counts} were given.")
    for places in _places(counts[0], batch_size, most):
        inputs = [_rows(x, places) for x in arrays]
        images = next((list(x) for x in inputs if x.ndim == 4), [])
        yield Batch(inputs, tuple(map(str, places)), images)


def from_array(
    images: Array, batch_size: int, steps: Preprocessing | None, most: int | None = None
) -> Iterator[Batch]:
    """An array (N, H, W, C), preprocessed only where that was asked for; see `from_inputs`."""
    for places in _places(len(images), batch_size, most):
        part = _rows(images, places)
        ready = part if steps is None else steps.apply(part.astype(np.float32))
        yield Batch([ready], tuple(map(str, places)), list(part))


def from_source(
    source: Source, steps: Preprocessing | None, most: int | None = None
) -> Iterator[Batch]:
    """Files or a stream; held back by one batch, so that the last one knows all skipped files.

    Args:
        source: the images.
        steps: what is done to them.
        most: if set, so many at most: evenly spread, or of a stream the first.
    """
    left_out: tuple[Skipped, ...] = ()
    if most is not None and source.length is not None and source.length > most:
        left_out, source = source.left_out, source.spread(most)
    held: Batch | None = None
    for batch, more in _first(source, most):
        if held is not None:
            yield held
        ready = batch.pixels if steps is None else steps.apply(batch.pixels)
        held = Batch([ready], batch.ids, list(batch.pixels), (*left_out, *source.skipped))
        held = replace(held, notes=dict(source.notes), more=more, labels=batch.labels)
    if held is not None:
        skipped = (*left_out, *source.skipped)
        yield replace(held, skipped=skipped, notes=dict(source.notes))


def _first(source: Source, most: int | None) -> Iterator[tuple[ImageBatch, bool]]:
    """The first images, and whether there are more: to learn that, one more batch is read."""
    batches = iter(source)
    left = most
    for batch in batches:
        if left is None:
            yield batch, False
            continue
        labels = None if batch.labels is None else batch.labels[:left]
        taken = ImageBatch(batch.pixels[:left], batch.ids[:left], labels)
        left -= len(taken)
        more = len(taken) < len(batch) or (left == 0 and next(batches, None) is not None)
        yield taken, more
        if left == 0:
            return


def _places(count: int, batch_size: int, most: int | None) -> Iterator[Sequence[int]]:
    """Positions batch by batch: all, or an even spread of them."""
    places: Sequence[int] = range(count)
    if most is not None and count > most:
        places = [int(place) for place in np.linspace(0, count - 1, most).round()]
    return (places[at : at + batch_size] for at in range(0, len(places), batch_size))


def _rows(images: Array, places: Sequence[int]) -> Array:
    if isinstance(places, range):  # without a copy
        return np.asarray(images[places.start : places.stop])
    return np.asarray(images)[list(places)]


def check_finite(pixels: Array, ids: Sequence[str]) -> None:
    """Refuse images with NaN or infinity, which a ReLU would hide.

    Raises:
        InputError: there are some; the message names them.
    """
    if pixels.dtype.kind != "f" or np.isfinite(pixels).all():
        return
    bad = [name for name, image in zip(ids, pixels, strict=True) if not np.isfinite(image).all()]
    raise InputError(
        "Images must be finite, as a ReLU hides what is not; NaN or infinity is in "
        f"{', '.join(bad[:5])}{f' and {len(bad) - 5} more' if len(bad) > 5 else ''}."
    )


class Collected:
    """Gathers the maps of batches into arrays that the caller owns, allocated once."""

    def __init__(self) -> None:
        self.photos: list[Array] = []
        self.inputs: list[Array] = []
        self.notes: Mapping[str, str] = {}
        self.more = False
        self._parts: list[Maps] = []
        self._filled = 0
        self._total: int | None = None
        self._arrays: dict[str, Floats] = {}

    def expect(self, total: int | None, bytes_each: int) -> None:
        """Refuse what memory cannot hold, before any work is done.

        Raises:
            InputError: the maps would fill more than half of the memory.
        """
        self._total = total
        room = _memory() / 2
        if total and total * bytes_each > room:
            raise InputError(
                f"The maps must fit into half of the memory ({room / 2**30:.0f} GiB), and those "
                f"of {total} images need {total * bytes_each / 2**30:.0f} GiB: name fewer layers, "
                "or read them batch by batch with stream()."
            )

    def look(self, batch: Batch) -> None:
        """Take note of the images whose maps come next."""
        self.photos.extend(batch.pixels)
        self.inputs, self.notes, self.more = batch.inputs, batch.notes, batch.more

    def add(self, maps: Maps) -> None:
        """Take one batch: over without a copy if it is the only one, else copied to its place."""
        owned = _each(maps.predictions, np.copy)
        self._parts.append(Maps({}, maps.ids, owned, maps.layers, maps.skipped))
        if self._filled == 0 and self._total == len(maps.ids):
            self._arrays = taken_over(maps.arrays, self.inputs)
        else:
            self._copy(maps)
        self._filled += len(maps.ids)

    def _copy(self, maps: Maps) -> None:
        for name, array in maps.items():
            if name not in self._arrays:
                rows = max(self._total or 0, len(array))
                self._arrays[name] = np.empty((rows, *array.shape[1:]), np.float32)
        # One core cannot fill fresh memory as fast as it comes.
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(self._place, maps.keys(), maps.values()))

    def _place(self, name: str, array: Floats) -> None:
        have = self._arrays[name]
        if have.shape[1:] != array.shape[1:]:
            raise InputError(
                f"The maps of several images need one size, and '{name}' has "
                f"{have.shape[1:3]} and {array.shape[1:3]}: pass images of one size, or stream()."
            )
        end = self._filled + len(array)
        if end > len(have):
            grown = np.empty((max(end, 2 * len(have)), *have.shape[1:]), np.float32)
            grown[: self._filled] = have[: self._filled]
            self._arrays[name] = have = grown
        have[self._filled : end] = array

    def result(self) -> Maps:
        """Everything that was added, as one."""
        first, last = self._parts[0], self._parts[-1]
        ids = tuple(name for part in self._parts for name in part.ids)
        arrays = {name: array[: self._filled] for name, array in self._arrays.items()}
        if isinstance(first.predictions, dict):
            outputs: Any = {
                name: np.concatenate([part.predictions[name] for part in self._parts])  # type: ignore[call-overload]
                for name in first.predictions
            }
        else:
            outputs = np.concatenate([part.predictions for part in self._parts])
        return Maps(arrays, ids, outputs, first.layers, last.skipped)


def taken_over(views: Mapping[str, Floats], inputs: Sequence[Array] = ()) -> dict[str, Floats]:
    """Make read-only views of fresh results writable, without a copy.

    The memory belongs to results that nothing else refers to; each array keeps its own alive. Where
    two views share memory, or one is an input handed on, it is copied.

    Args:
        views: contiguous float32 arrays over the memory of results of one pass.
        inputs: the arrays that went into that pass.
    """
    seen = {x.ctypes.data for x in inputs}
    owned: dict[str, Floats] = {}
    for name, array in views.items():
        address = array.ctypes.data
        if address in seen or array.size == 0:
            owned[name] = array.copy()
            continue
        seen.add(address)
        memory = (ctypes.c_float * array.size).from_address(address)
        memory.keeps = array  # type: ignore[attr-defined]
        owned[name] = np.ctypeslib.as_array(memory).reshape(array.shape)
    return owned


def _each(predictions: Any, change: Callable[[Floats], Floats]) -> Any:
    if isinstance(predictions, dict):
        return {name: change(array) for name, array in predictions.items()}
    return change(predictions)


def _memory() -> float:
    """Bytes of memory of this machine; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
