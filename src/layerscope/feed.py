"""Batches on their way into a model, and maps on their way out: both one batch at a time."""

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscope.errors import InputError
from layerscope.images import Preprocessing, Source
from layerscope.vocabulary import Floats, Maps, Skipped

Array = np.ndarray


@dataclass(frozen=True)
class Batch:
    """Images ready for a model.

    Attributes:
        inputs: one array per input of the model, batch first.
        ids: one stable name per image.
        pixels: the images as they came, before preprocessing; empty if no input is an image.
        skipped: files left out up to here; complete with the last batch.
    """

    inputs: list[Array]
    ids: tuple[str, ...]
    pixels: list[Array]
    skipped: tuple[Skipped, ...] = ()


def from_inputs(arrays: Sequence[Array], batch_size: int) -> Iterator[Batch]:
    """Arrays for each input of a model, used exactly as given.

    Raises:
        InputError: they differ in length.
    """
    counts = [len(x) for x in arrays]
    if len(set(counts)) > 1:
        raise InputError(f"All inputs need the same number of images, and {counts} were given.")
    for at in range(0, counts[0], batch_size):
        inputs = [np.asarray(x[at : at + batch_size]) for x in arrays]
        images = next((list(x) for x in inputs if x.ndim == 4), [])
        yield Batch(inputs, _positions(at, len(inputs[0])), images)


def from_array(images: Array, batch_size: int, steps: Preprocessing | None) -> Iterator[Batch]:
    """An array (N, H, W, C), preprocessed only where that was asked for."""
    for at in range(0, len(images), batch_size):
        part = np.asarray(images[at : at + batch_size])
        ready = part if steps is None else steps.apply(part.astype(np.float32))
        yield Batch([ready], _positions(at, len(part)), list(part))


def from_source(source: Source, steps: Preprocessing | None) -> Iterator[Batch]:
    """Files or a stream; held back by one batch, so that the last one knows all skipped files."""
    held: Batch | None = None
    for batch in source:
        if held is not None:
            yield held
        ready = batch.pixels if steps is None else steps.apply(batch.pixels)
        held = Batch([ready], batch.ids, list(batch.pixels), tuple(source.skipped))
    if held is not None:
        yield Batch(held.inputs, held.ids, held.pixels, tuple(source.skipped))


def _positions(start: int, count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(start, start + count))


class Collected:
    """Gathers the maps of batches into arrays that the caller owns, allocated once."""

    def __init__(self) -> None:
        self.photos: list[Array] = []
        self.inputs: list[Array] = []
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
