"""Images that are already numbers: arrays, ``.npz`` archives, and streams such as ``tf.data``.

TensorFlow is not imported: what has ``.numpy()`` is asked for it.
"""

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image, ImageOps

from layerscope.errors import InputError

Array = NDArray[Any]


def as_array(value: Any) -> Array:
    """Turn a tensor of any library, or anything that numpy understands, into an array."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def as_images(array: Array) -> Array:
    """Bring an array to (N, H, W, C) without touching its values.

    (H, W) is one grey image. Rank 3 is one image (H, W, C) if its last side is 1, 3 or 4, and
    otherwise grey images (N, H, W).

    Raises:
        InputError: another rank, no image at all, or values that are no real numbers.
    """
    if array.ndim not in (2, 3, 4) or array.size == 0 or array.dtype.kind not in "buif":
        raise InputError(
            "An array of images holds real numbers of shape (N, H, W, C), (N, H, W) or (H, W, C), "
            f"and at least one pixel; got {array.dtype} of shape {array.shape}."
        )
    if array.ndim == 2:
        return array[None, :, :, None]
    if array.ndim == 3:
        return array[None] if array.shape[-1] in (1, 3, 4) else array[..., None]
    return array


def is_picture(value: Any) -> bool:
    """Whether something is a Pillow image, or behaves like one."""
    return callable(getattr(value, "convert", None)) and hasattr(value, "mode")


def of_picture(picture: Any, channels: int) -> NDArray[np.uint8]:
    """Pixels of a Pillow image as its file would give them, upright, (H, W, 3) or (H, W, 1).

    Raises:
        ValueError: its values have no known range; the text is the reason alone.
        OSError: its file is damaged.
    """
    if picture.mode == "F" or picture.mode.startswith("I"):
        raise ValueError(f"its values of mode {picture.mode} have no known range; use mode RGB")
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "P":  # straight to RGB, Pillow warns about some palettes
        picture = picture.convert("RGBA")
    pixels = np.asarray(picture.convert("RGB" if channels == 3 else "L"), np.uint8)
    return pixels if channels == 3 else pixels[..., None]


def stream(batches: Iterable[Any]) -> Iterator[tuple[Array, Any]]:
    """Take ``x`` or ``(x, y)`` or ``(x, y, weight)`` apart into images (N, H, W, C) and labels.

    An ``x`` of rank 3 is one image (H, W, C), as an unbatched dataset gives it; its ``y`` gets an
    axis of length 1 in front.

    Raises:
        InputError: an element is something else.
    """
    for element in batches:
        x, y = _taken_apart(element)
        if x.ndim == 3:
            x, y = x[None], None if y is None else as_array(y)[None]
        yield as_images(x), y


def _taken_apart(element: Any) -> tuple[Array, Any]:
    if isinstance(element, tuple | list) and 1 <= len(element) <= 3:
        element, *rest = element
        labels = rest[0] if rest else None
    else:
        labels = None
    if isinstance(element, dict | tuple | list | str | bytes | Path):
        raise InputError(
            "A stream of images gives arrays x or pairs (x, y); it gave "
            f"{type(element).__name__}. Map it to that form first."
        )
    return as_array(element), labels


@dataclass(frozen=True, slots=True)
class Archive:
    """An ``.npz`` with images in ``x`` and perhaps labels in ``y``.

    Attributes:
        path: the file.
        shape: of ``x`` brought to (N, H, W, C).
        labels: ``y``, or ``None`` where there is none.
    """

    path: Path
    shape: tuple[int, ...]
    labels: Array | None


_DAMAGE = (
    *(OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error),
)


def open_archive(path: Path) -> Archive:
    """Read the header of an archive, and its labels, but not its images.

    Raises:
        InputError: it is no ``.npz``, has no ``x``, or holds pickled objects.
    """
    try:
        with zipfile.ZipFile(path) as members:
            names = [name.removesuffix(".npy") for name in members.namelist()]
            labels = _whole(members, "y") if "y" in names else None
            shape, _, dtype = _header_of_x(members) if "x" in names else ((), False, None)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    if "x" not in names:
        raise InputError(
            "An archive of images holds them in x, and labels, if any, in y; "
            f"{str(path)!r} holds {', '.join(map(repr, names[:10])) or 'nothing'}."
        )
    # A broadcast array has the shape without the memory.
    images = as_images(np.broadcast_to(np.zeros((), dtype), shape))
    return Archive(path, images.shape, labels)


def archive_rows(archive: Archive, batch_size: int) -> Iterator[Array]:
    """Read the images in blocks of up to ``batch_size``, (n, H, W, C), one block in memory.

    The archive may be compressed. An ``x`` in Fortran order, or one that is a single image, is
    loaded whole.
    """
    try:
        with zipfile.ZipFile(archive.path) as members:
            shape, by_columns, dtype = _header_of_x(members)
            if by_columns or len(shape) < 3 or shape[0] != archive.shape[0]:
                whole = as_images(_whole(members, "x"))
                yield from (whole[at : at + batch_size] for at in range(0, len(whole), batch_size))
                return
            row = math.prod(shape[1:]) * dtype.itemsize
            with members.open("x.npy") as data:
                _read_header(data)
                for start in range(0, shape[0], batch_size):
                    count = min(batch_size, shape[0] - start)
                    block = np.frombuffer(data.read(count * row), dtype)
                    yield block.reshape(count, *archive.shape[1:])
    except _DAMAGE as error:
        raise _damaged(archive.path, error) from error


def _whole(members: zipfile.ZipFile, name: str) -> Array:
    with members.open(f"{name}.npy") as data:
        array: Array = npy.read_array(data, allow_pickle=False)
        return array


def _header_of_x(members: zipfile.ZipFile) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with members.open("x.npy") as data:
        return _read_header(data)


def _read_header(data: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(data)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(data)
    if dtype.hasobject:
        raise ValueError("x holds Python objects, which are not loaded")
    return shape, by_columns, dtype


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{str(path)!r} cannot be read as an .npz archive of arrays: {error}. Write it again with "
        "np.savez(path, x=images, y=labels)."
    )
