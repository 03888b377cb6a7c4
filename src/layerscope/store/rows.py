"""One number per image, channel and quantity, on disk, so that memory stays bounded.

The layers of a model lie side by side in one Zarr array per quantity: an array per layer would
make thousands of small files. Each block of images is one file, in which a layer can be read
without the others.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from layerscope.errors import InputError, LayerscopeError
from layerscope.store.manifest import cannot_be_read, damaged, told_as_failure
from layerscope.vocabulary import Floats

WIDTH = 1024
"""Channels, about, that are read at a time: more cost reading one layer, fewer cost writing."""
HELD = 2**24
"""Bytes of a quantity that are read at once where all layers are wanted."""


@dataclass(frozen=True)
class RowStore:
    """One number per image, channel and quantity.

    Attributes:
        path: the directory, a Zarr group with one array (images, channels) per quantity, whose
            attribute ``layers`` lists the layers and channels in the order of the columns.
        arrays: the Zarr array of each quantity.
        columns: for each quantity the columns of each layer.
    """

    path: Path
    arrays: Mapping[str, Any]
    columns: Mapping[str, Mapping[str, slice]]

    def write(self, start: int, rows: Mapping[str, Mapping[str, Floats]]) -> None:
        """Write the rows of consecutive images; writing them again changes nothing.

        Args:
            start: position of the first image. Blocks that begin and end at multiples of
                ``block`` are written without reading anything back.
            rows: quantity -> layer -> (images, channels), kept as float32. Layers that are
                left out become NaN for these images.

        Raises:
            InputError: a quantity, layer or shape is not that of the store.
            EnvironmentFailure: the disk refuses.
        """
        for quantity, layers in rows.items():
            images = max((len(values) for values in layers.values()), default=0)
            array = self.arrays[self._known(quantity)]
            side_by_side = np.full((images, array.shape[1]), np.nan, np.float32)
            for layer, values in layers.items():
                columns = self._columns(quantity, layer)
                expected = (images, columns.stop - columns.start)
                if values.shape != expected:
                    raise InputError(
                        f"Rows of {layer!r} have the shape {expected}, got {values.shape}; "
                        "give one row per image and one column per channel."
                    )
                side_by_side[:, columns] = values
            with told_as_failure(self.path), _told_as_damage(self.path):
                if start + images > array.shape[0]:
                    array.resize((start + images, array.shape[1]))
                array[start : start + images] = side_by_side

    def read(self, layer: str, quantity: str, start: int = 0, stop: int | None = None) -> Floats:
        """The rows of one layer, float32 (images, channels); NaN where none were written.

        Raises:
            InputError: the store has no such layer or quantity, or is damaged.
            EnvironmentFailure: it cannot be read.
        """
        columns = self._columns(quantity, layer)
        return self._block(quantity, slice(start, stop), columns.start, columns.stop)

    def in_order(self, most: int = HELD) -> Callable[[str, str], Floats]:
        """Return `read` for one layer after the other, in the order of the columns.

        Finding and opening blocks for each layer again takes longer than its rows are worth, so
        the layers that follow are read with it.

        Args:
            most: bytes of a quantity that are held, if one layer is not more.
        """
        held: dict[str, tuple[int, Floats]] = {}

        def read(layer: str, quantity: str) -> Floats:
            columns = self._columns(quantity, layer)
            first, rows = held.get(quantity, (0, np.empty((0, 0), np.float32)))
            if columns.start < first or columns.stop > first + rows.shape[1]:
                width = most // max(4 * self.images(quantity), 1)
                last = max(columns.stop, columns.start + width)
                first, rows = columns.start, self._block(quantity, slice(None), columns.start, last)
                held[quantity] = first, rows
            return rows[:, columns.start - first : columns.stop - first]

        return read

    def _block(self, quantity: str, images: slice, first: int, last: int) -> Floats:
        try:
            with _told_as_damage(self.path):
                rows: Floats = np.asarray(self.arrays[quantity][images, first:last])
        except OSError as error:
            raise cannot_be_read(self.path, error) from error
        return rows

    def images(self, quantity: str) -> int:
        """How many rows there are, those that were not yet written included."""
        return int(self.arrays[self._known(quantity)].shape[0])

    def _known(self, quantity: str) -> str:
        if quantity not in self.arrays:
            raise InputError(f"Rows are kept for {sorted(self.arrays)}, got {quantity!r}.")
        return quantity

    def _columns(self, quantity: str, layer: str) -> slice:
        columns = self.columns[self._known(quantity)]
        if layer not in columns:
            raise InputError(
                f"No rows of {quantity!r} are kept for the layer {layer!r}; "
                f"there are {len(columns)} layers, {', '.join(map(repr, list(columns)[:3]))} ..."
            )
        return columns[layer]


def open_rows(
    path: Path, quantities: Mapping[str, Mapping[str, int]], block: int, images: int = 0
) -> RowStore:
    """Open the rows in a directory, which is made if it is missing.

    Args:
        path: the directory.
        quantities: name of the quantity -> layer path -> number of channels.
        block: images per file; best as many as are written at a time.
        images: how many there will be, as far as that is known; the store grows by itself.

    Raises:
        InputError: the directory holds rows of other layers, or is damaged.
        EnvironmentFailure: the disk refuses.
    """
    import zarr  # heavy

    with told_as_failure(path), _told_as_damage(path):
        group = zarr.open_group(path, mode="a", zarr_format=3)
        for left_by_a_kill in path.rglob("*.partial"):
            left_by_a_kill.unlink()
        arrays = {
            name: _opened(group, name, layers, block, images) for name, layers in quantities.items()
        }
    return RowStore(path, arrays, {name: _spans(layers) for name, layers in quantities.items()})


def _opened(group: Any, name: str, layers: Mapping[str, int], block: int, images: int) -> Any:
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise InputError(f"A quantity is named in small letters, digits and _, got {name!r}.")
    listed = [[layer, channels] for layer, channels in layers.items()]
    if name in group:
        array = group[name]
        if array.attrs.get("layers") != listed:
            raise InputError(
                f"'{group.store.root}' holds rows of other layers; choose another directory."
            )
        return array
    total = max(sum(layers.values()), 1)
    width = -(-total // -(-total // WIDTH))  # equal parts, so that the last is not mostly empty
    return group.create_array(
        name,
        shape=(images, total),
        shards=(block, -(-total // width) * width),
        chunks=(block, width),
        dtype="float32",
        fill_value=np.nan,
        compressors=None,
        attributes={"layers": listed},
    )


def _spans(layers: Mapping[str, int]) -> dict[str, slice]:
    ends = accumulate(layers.values())
    return {
        layer: slice(end - channels, end)
        for (layer, channels), end in zip(layers.items(), ends, strict=True)
    }


@contextmanager
def _told_as_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except LayerscopeError:
        raise
    except (ValueError, KeyError, TypeError) as error:  # Zarr's own errors are among them
        raise damaged(path, error) from error
