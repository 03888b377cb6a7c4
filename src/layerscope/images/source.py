"""From whatever holds images to batches for a model, read once and never all in memory.

`read` decides what it was given; the `Source` it returns is iterated.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError, MissingFileError
from layerscope.images import arrays, listing
from layerscope.images.blocks import read_archive, read_array, read_stream
from layerscope.images.contract import Row, Source, Wanted, grouped, source_of
from layerscope.images.decode import Decoded
from layerscope.images.labels import Labels, label_groups, label_values
from layerscope.images.listing import Listed
from layerscope.images.loading import Outcome, load_batches, load_each
from layerscope.images.resize import HOWS, resize
from layerscope.vocabulary import ImageBatch, Skipped

Numbers = NDArray[np.int64]


def read(
    images: Any,
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    batch_size: int = 32,
    how: str = "stretch",
    outputs: int | None = None,
    classes: Sequence[str | Sequence[str]] | None = None,
) -> Source:
    """Open images for reading; no pixel is read before the iteration.

    Args:
        images: a path to an image, to a folder (one sub-folder per class, or flat), to a CSV with
            the columns path,label or path and one of 0 and 1 per class, or to an ``.npz`` with
            ``x`` and perhaps ``y``; a list of paths to images; a Pillow image or a list of them;
            an array (N, H, W, C), (N, H, W) or (H, W, C); a pair (array, labels); or any iterable
            of batches ``x`` or ``(x, y)``, such as a ``tf.data.Dataset``.
        size: height and width to give to files; ``None`` keeps each file's own. Arrays keep
            theirs and must have this one.
        channels: of the model's input; files give 3 (RGB) or 1 (grey), arrays what they have.
        batch_size: most images in one batch.
        how: how files come to ``size``, see `layerscope.images.resize.resize`.
        outputs: number of outputs of the model, ``None`` if unknown.
        classes: names in output order, see `layerscope.images.labels.class_names`.

    Raises:
        MissingFileError: the path does not exist.
        InputError: nothing of the above; a folder, table or archive without images; labels that
            are no outputs of the model; an array that does not fit the model.
    """
    if batch_size < 1 or how not in HOWS:
        raise InputError(
            f"A batch has at least 1 image and resizing is one of {', '.join(HOWS)}; got "
            f"batch_size={batch_size} and {how!r}."
        )
    wanted = Wanted(size, channels, batch_size, how, outputs, classes)
    if are_files(images):
        given = list(images) if isinstance(images, list | tuple) else [images]
        if given and arrays.is_picture(given[0]):
            return _read_pictures(given, wanted)
        if isinstance(images, list | tuple):
            return _read_files(listing.list_paths(images), wanted)
        return _read_path(images, wanted)
    if isinstance(images, np.ndarray) or (hasattr(images, "numpy") and hasattr(images, "shape")):
        return read_array(arrays.as_array(images), None, wanted)
    if isinstance(images, tuple) and len(images) == 2:
        return read_array(arrays.as_array(images[0]), images[1], wanted)
    if isinstance(images, Iterable) and not isinstance(images, list | tuple | dict | bytes):
        return read_stream(images, wanted)
    raise InputError(
        "Images are a path, an array (N, H, W, C), a Pillow image, a list of paths or of Pillow "
        "images, a pair (array, labels) or a stream of batches; got "
        f"{type(images).__name__}. Join a list of arrays with numpy.stack."
    )


def are_files(images: Any) -> bool:
    """Whether images are files or Pillow images, which get the size and the values of the model.

    Everything else holds numbers that are used as given.
    """
    each = images if isinstance(images, list | tuple) else [images]
    paths = all(isinstance(one, str | os.PathLike) for one in each)
    return paths or all(arrays.is_picture(one) for one in each)


def _read_path(given: str | os.PathLike[str], wanted: Wanted) -> Source:
    path = Path(given)
    try:
        if not os.fspath(given):
            raise ValueError("the path is empty")
        path.stat()
    except (OSError, ValueError) as error:  # a name may be too long, or hold a null character
        raise MissingFileError(
            f"Images are a file, a folder, a CSV or an .npz; {os.fspath(given)!r} cannot be found "
            f"({getattr(error, 'strerror', None) or error}). Check the path."
        ) from error
    if path.is_dir():
        return _read_files(listing.list_folder(path), wanted)
    if path.suffix.lower() == ".csv":
        return _read_files(listing.list_table(path), wanted, numbers=True)
    if path.suffix.lower() == ".npz":
        return read_archive(arrays.open_archive(path), wanted)
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"An archive of images is an .npz with x, and {str(path)!r} is an .npy. Write it with "
            "np.savez(path, x=images), or load it and pass the array in Python."
        )
    return _read_files(listing.Listing((Listed(listing.printable(path.name), path),)), wanted)


def _read_files(files: listing.Listing, wanted: Wanted, numbers: bool = False) -> Source:
    files = listing.ordinary(files)
    _check_channels(wanted)
    if not files.files:
        raise InputError("At least one image is needed; the list is empty.")
    return _of_files(files, _labels_of(files, wanted, numbers), wanted)


def _labels_of(files: listing.Listing, wanted: Wanted, numbers: bool) -> Labels:
    outputs, classes = wanted.outputs, wanted.classes
    if files.columns:
        marks = np.array([file.marks for file in files.files], np.uint8)
        return label_values(marks, len(marks), outputs, classes, files.columns)
    groups = [file.group for file in files.files]
    return label_groups(groups, outputs, classes, numbers=numbers)


def _check_channels(wanted: Wanted) -> None:
    if wanted.channels not in (1, 3):
        raise InputError(
            f"Image files give 1 or 3 channels; the model takes {wanted.channels}. Give an array."
        )


def _of_files(files: listing.Listing, found: Labels, wanted: Wanted) -> Source:
    make = _own_size_batches if wanted.size is None else _one_size_batches

    def batches(source: Source) -> Iterator[ImageBatch]:
        source.skipped += files.skipped
        return make(files.files, found.values, wanted, source)

    def part(places: Sequence[int]) -> Source:
        some = listing.Listing(tuple(files.files[place] for place in places))
        return _of_files(some, found.at(places), wanted)

    made = source_of(tuple(file.id for file in files.files), found, batches, part)
    photos = tuple(file.photo or file.id for file in files.files)
    digest, paths = partial(_hash_of_files, files, found), tuple(one.path for one in files.files)
    return replace(made, left_out=files.skipped, photos=photos, files=paths, _digest=digest)


def _hash_of_files(files: listing.Listing, labels: Labels) -> str:
    def of_one(file: Listed) -> bytes:
        try:
            with file.path.open("rb") as data:
                return hashlib.file_digest(data, "sha256").digest()
        except OSError:
            return b"unreadable"

    found = hashlib.sha256(labels.content)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for file, content in zip(files.files, pool.map(of_one, files.files), strict=True):
            found.update(f"{file.id}\0{file.photo}\0".encode("utf-8", "surrogateescape") + content)
    return found.hexdigest()


def _one_size_batches(
    files: Sequence[Listed], labels: Numbers | None, wanted: Wanted, source: Source
) -> Iterator[ImageBatch]:
    at = 0
    loaded = load_batches(
        [file.path for file in files],
        wanted.size or (1, 1),
        1 if wanted.channels == 1 else 3,
        wanted.how,
        wanted.batch_size,
    )
    for pixels, outcomes in loaded:
        here = range(at, at + len(outcomes))
        at += len(outcomes)
        kept = [
            place
            for place, outcome in zip(here, outcomes, strict=True)
            if _kept(files[place], outcome, source)
        ]
        if kept:
            yield ImageBatch(
                pixels if len(kept) == len(here) else pixels[np.array(kept) - here.start],
                tuple(files[place].id for place in kept),
                None if labels is None else labels[kept],
            )
        del pixels


def _own_size_batches(
    files: Sequence[Listed], labels: Numbers | None, wanted: Wanted, source: Source
) -> Iterator[ImageBatch]:
    def rows() -> Iterator[Row]:
        loaded = load_each([file.path for file in files], 1 if wanted.channels == 1 else 3)
        for at, (file, image) in enumerate(zip(files, loaded, strict=True)):
            if isinstance(image, Decoded):
                _kept(file, image.note, source)
                yield Row(image.pixels, file.id, None if labels is None else int(labels[at]))
            else:
                _kept(file, image, source)

    return grouped(rows(), wanted.batch_size)


def _kept(file: Listed, outcome: Outcome, source: Source) -> bool:
    """Write down what happened to a file; False where it was skipped."""
    if isinstance(outcome, Skipped):
        source.skipped.append(Skipped(file.id, outcome.reason))
        return False
    if outcome:
        source.notes[file.id] = outcome
    return True


def _read_pictures(pictures: Sequence[Any], wanted: Wanted) -> Source:
    _check_channels(wanted)
    names = [str(getattr(one, "filename", "")) or str(at) for at, one in enumerate(pictures)]
    files = listing.unique([(name, Path(name), None) for name in names])
    return _of_pictures(pictures, tuple(file.id for file in files), wanted)


def _of_pictures(pictures: Sequence[Any], ids: tuple[str, ...], wanted: Wanted) -> Source:
    def rows(source: Source) -> Iterator[Row]:
        for picture, name in zip(pictures, ids, strict=True):
            try:
                pixels = arrays.of_picture(picture, wanted.channels)
            except (OSError, ValueError) as error:
                source.skipped.append(Skipped(name, str(error)))
                continue
            size = wanted.size or pixels.shape[:2]
            yield Row(resize(pixels, size, wanted.how), name, None)

    def part(places: Sequence[int]) -> Source:
        some = [pictures[place] for place in places]
        return _of_pictures(some, tuple(ids[place] for place in places), wanted)

    def digest() -> str:
        found = hashlib.sha256()
        for row in rows(made):
            found.update(f"{row.id}\0{row.pixels.shape};".encode() + row.pixels.tobytes())
        return found.hexdigest()

    made = source_of(
        ids, Labels(None), lambda source: grouped(rows(source), wanted.batch_size), part
    )
    return replace(made, _digest=digest)
