"""From whatever holds images to batches for a model, read once and never all in memory.

`read` decides what it was given; the `Source` it returns is iterated.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError, MissingFileError
from layerscope.images import arrays, listing
from layerscope.images.decode import Decoded
from layerscope.images.labels import Labels, label_groups, label_values
from layerscope.images.listing import Listed
from layerscope.images.loading import Outcome, load_batches, load_each
from layerscope.images.resize import HOWS, resize
from layerscope.vocabulary import ImageBatch, Skipped

Array = NDArray[Any]
Numbers = NDArray[np.int64]


class Row(NamedTuple):
    """One image on its way into a batch: (H, W, C), its id and its label, if it has any."""

    pixels: Array
    id: str
    label: int | None


@dataclass
class Source:
    """Images to iterate over as `ImageBatch`, in a fixed order.

    Files, arrays and archives can be iterated again; a stream only once.

    Attributes:
        ids: the path below the folder, or the position as text; ``None`` for a stream.
        labels: output index per id, -1 where unknown; ``None`` for unlabelled sets and streams.
        class_names: one name per output where known, else the classes as the images have them.
        label_mismatch: empty, or why images that have classes count as unlabelled.
        skipped: files that could not be used, with reasons; grows during an iteration and starts
            afresh with the next.
        notes: by id, what was done to a file that its owner may not expect; grows likewise.
        left_out: files that are not in ``ids``, with reasons.
        photos: what each was cut from, its own id where nothing is said.
        files: where each of ``ids`` lies; ``None`` where they are no files.
    """

    ids: tuple[str, ...] | None
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]
    label_mismatch: str
    _batches: Callable[["Source"], Iterator[ImageBatch]] = field(repr=False)
    _part: Callable[[Sequence[int]], "Source"] | None = field(default=None, repr=False)
    skipped: list[Skipped] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    left_out: tuple[Skipped, ...] = ()
    photos: tuple[str, ...] | None = None
    files: tuple[Path, ...] | None = None
    _digest: Callable[[], str] = field(default=str, repr=False)

    @property
    def length(self) -> int | None:
        """Number of images asked for, unreadable ones included; ``None`` for a stream."""
        return None if self.ids is None else len(self.ids)

    def digest(self) -> str:
        """sha256 over ids, labels and contents of all images; empty for a stream."""
        return self._digest()

    def part(self, places: Sequence[int]) -> "Source":
        """The images at some places of ``ids``, in that order, under the same ids and labels.

        Raises:
            InputError: it is a stream.
        """
        if self._part is None:
            raise InputError("A stream of images is read in its own order; only all of it is had.")
        return self._part(places)

    def spread(self, most: int) -> "Source":
        """Up to ``most`` of the images, evenly spread over the set.

        Raises:
            InputError: it is a stream.
        """
        places = np.linspace(0, (self.length or 1) - 1, min(most, self.length or 1))
        return self.part([int(place) for place in places.round()])

    def __iter__(self) -> Iterator[ImageBatch]:
        """Yield batches of up to the batch size, fewer where files are skipped or sizes change.

        Raises:
            InputError: not one image could be read, or a stream is iterated a second time.
        """
        self.skipped.clear()
        self.notes.clear()
        batches = self._batches(self)
        first = next(batches, None)
        if first is None:
            raise InputError(_nothing_left(self.skipped))
        yield first
        del first  # here and below: a batch kept longer than its reader needs it is one too many
        yield from batches


def _nothing_left(skipped: Sequence[Skipped]) -> str:
    reasons = "; ".join(f"{item.file!r}: {item.reason}" for item in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return f"At least one image must be readable; none is ({reasons or 'none was given'}{more})."


def _grouped(rows: Iterator[Row], batch_size: int) -> Iterator[ImageBatch]:
    """Join neighbours of one size."""
    group: list[Row] = []
    for row in rows:
        if group and (len(group) == batch_size or row.pixels.shape != group[0].pixels.shape):
            yield _joined(group)
            group = []
        group.append(row)
    if group:
        yield _joined(group)


def _joined(group: Sequence[Row]) -> ImageBatch:
    labels = [row.label for row in group]
    return ImageBatch(
        np.stack([row.pixels for row in group], dtype=np.float32, casting="unsafe"),
        tuple(row.id for row in group),
        None if None in labels else np.array(labels, np.int64),
    )


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the model takes, and how much of it at a time."""

    size: tuple[int, int] | None
    channels: int
    batch_size: int
    how: str
    outputs: int | None
    classes: Sequence[str | Sequence[str]] | None


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
            the columns path,label, or to an ``.npz`` with ``x`` and perhaps ``y``; a list of paths
            to images; a Pillow image or a list of them; an array (N, H, W, C), (N, H, W) or
            (H, W, C); a pair (array, labels); or any iterable of batches ``x`` or ``(x, y)``, such
            as a ``tf.data.Dataset``.
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
    wanted = _Wanted(size, channels, batch_size, how, outputs, classes)
    if are_files(images):
        given = list(images) if isinstance(images, list | tuple) else [images]
        if given and arrays.is_picture(given[0]):
            return _read_pictures(given, wanted)
        if isinstance(images, list | tuple):
            return _read_files(listing.list_paths(images), wanted)
        return _read_path(images, wanted)
    if isinstance(images, np.ndarray) or (hasattr(images, "numpy") and hasattr(images, "shape")):
        return _read_array(arrays.as_array(images), None, wanted)
    if isinstance(images, tuple) and len(images) == 2:
        return _read_array(arrays.as_array(images[0]), images[1], wanted)
    if isinstance(images, Iterable) and not isinstance(images, list | tuple | dict | bytes):
        return _read_stream(images, wanted)
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


def _read_path(given: str | os.PathLike[str], wanted: _Wanted) -> Source:
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
        return _read_archive(arrays.open_archive(path), wanted)
    if path.suffix.lower() == ".npy":
        raise InputError(
            f"An archive of images is an .npz with x, and {str(path)!r} is an .npy. Write it with "
            "np.savez(path, x=images), or load it and pass the array in Python."
        )
    return _read_files(listing.Listing((Listed(listing.printable(path.name), path),)), wanted)


def _read_files(files: listing.Listing, wanted: _Wanted, numbers: bool = False) -> Source:
    _check_channels(wanted)
    if not files.files:
        raise InputError("At least one image is needed; the list is empty.")
    found = label_groups(
        [file.group for file in files.files], wanted.outputs, wanted.classes, numbers=numbers
    )
    return _of_files(files, found, wanted)


def _check_channels(wanted: _Wanted) -> None:
    if wanted.channels not in (1, 3):
        raise InputError(
            f"Image files give 1 or 3 channels; the model takes {wanted.channels}. Give an array."
        )


def _of_files(files: listing.Listing, found: Labels, wanted: _Wanted) -> Source:
    make = _own_size_batches if wanted.size is None else _one_size_batches

    def batches(source: Source) -> Iterator[ImageBatch]:
        source.skipped += files.skipped
        return make(files.files, found.values, wanted, source)

    def part(places: Sequence[int]) -> Source:
        some = listing.Listing(tuple(files.files[place] for place in places))
        return _of_files(some, _labels_at(found, places), wanted)

    made = _source(tuple(file.id for file in files.files), found, batches, part)
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

    found = hashlib.sha256(b"" if labels.values is None else labels.values.tobytes())
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for file, content in zip(files.files, pool.map(of_one, files.files), strict=True):
            found.update(f"{file.id}\0{file.photo}\0".encode("utf-8", "surrogateescape") + content)
    return found.hexdigest()


def _labels_at(labels: Labels, places: Sequence[int]) -> Labels:
    return labels if labels.values is None else replace(labels, values=labels.values[list(places)])


def _source(
    ids: tuple[str, ...] | None,
    labels: Labels,
    batches: Callable[[Source], Iterator[ImageBatch]],
    part: Callable[[Sequence[int]], Source] | None = None,
) -> Source:
    return Source(ids, labels.values, labels.names, labels.mismatch, batches, part)


def _one_size_batches(
    files: Sequence[Listed], labels: Numbers | None, wanted: _Wanted, source: Source
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
    files: Sequence[Listed], labels: Numbers | None, wanted: _Wanted, source: Source
) -> Iterator[ImageBatch]:
    def rows() -> Iterator[Row]:
        loaded = load_each([file.path for file in files], 1 if wanted.channels == 1 else 3)
        for at, (file, image) in enumerate(zip(files, loaded, strict=True)):
            if isinstance(image, Decoded):
                _kept(file, image.note, source)
                yield Row(image.pixels, file.id, None if labels is None else int(labels[at]))
            else:
                _kept(file, image, source)

    return _grouped(rows(), wanted.batch_size)


def _kept(file: Listed, outcome: Outcome, source: Source) -> bool:
    """Write down what happened to a file; False where it was skipped."""
    if isinstance(outcome, Skipped):
        source.skipped.append(Skipped(file.id, outcome.reason))
        return False
    if outcome:
        source.notes[file.id] = outcome
    return True


def _read_pictures(pictures: Sequence[Any], wanted: _Wanted) -> Source:
    _check_channels(wanted)
    names = [str(getattr(one, "filename", "")) or str(at) for at, one in enumerate(pictures)]
    files = listing.unique([(name, Path(name), None) for name in names])
    return _of_pictures(pictures, tuple(file.id for file in files), wanted)


def _of_pictures(pictures: Sequence[Any], ids: tuple[str, ...], wanted: _Wanted) -> Source:
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

    made = _source(
        ids, Labels(None), lambda source: _grouped(rows(source), wanted.batch_size), part
    )
    return replace(made, _digest=digest)


def _read_array(array: Array, y: Any, wanted: _Wanted) -> Source:
    images = arrays.as_images(array)
    _check_fit(images.shape, wanted)
    blocks = range(0, len(images), wanted.batch_size)
    return _read_blocks(
        lambda: (images[at : at + wanted.batch_size] for at in blocks), len(images), y, wanted
    )


def _read_archive(archive: arrays.Archive, wanted: _Wanted) -> Source:
    _check_fit(archive.shape, wanted)
    rows = partial(arrays.archive_rows, archive, wanted.batch_size)
    return _read_blocks(rows, archive.shape[0], archive.labels, wanted)


def _read_blocks(
    blocks: Callable[[], Iterator[Array]], count: int, y: Any, wanted: _Wanted
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

        made = _source(tuple(ids[i] for i in asked), _labels_at(labels, places), some)
        made._part = lambda fewer: part(asked[list(fewer)].tolist())
        made._digest = lambda: hashlib.sha256(f"{digest()} {asked.tolist()}".encode()).hexdigest()
        return made

    def digest() -> str:
        found = hashlib.sha256(b"" if labels.values is None else labels.values.tobytes())
        for block in blocks():
            found.update(f"{block.dtype} {block.shape};".encode() + block.tobytes())
        return found.hexdigest()

    return replace(_source(ids, labels, batches, part), _digest=digest)


def _check_fit(shape: tuple[int, ...], wanted: _Wanted) -> None:
    size, channels = shape[1:3], shape[3]
    if channels != wanted.channels or (wanted.size and size != wanted.size):
        takes = f"{wanted.size[0]} x {wanted.size[1]} x " if wanted.size else "H x W x "
        raise InputError(
            f"Arrays are used as given, so they must fit the model: it takes images of {takes}"
            f"{wanted.channels}, the array holds {size[0]} x {size[1]} x {channels}. "
            "Resize them first, for instance with layerscope.images.resize.resize."
        )


def _read_stream(batches: Iterable[Any], wanted: _Wanted) -> Source:
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
        return _grouped(_stream_rows(batches, groups, wanted, source), wanted.batch_size)

    return _source(None, Labels(None), once)


def _stream_rows(
    batches: Iterable[Any], groups: Any, wanted: _Wanted, source: Source
) -> Iterator[Row]:
    at = 0
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
        for place, pixels in enumerate(images):
            label = None if labels.values is None else int(labels.values[place])
            yield Row(pixels, str(at), label)
            at += 1
