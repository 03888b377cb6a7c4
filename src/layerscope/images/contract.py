"""What every reader of images makes: a `Source`, iterated batch by batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerscope.errors import InputError
from layerscope.images.labels import SEVERAL, Labels
from layerscope.vocabulary import ImageBatch, Skipped

Array = NDArray[Any]


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
        several: (N, outputs), which labels each image has, where it may have several: ``labels``
            is ``None`` then. Of a stream it is known after a pass.
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
    several: NDArray[np.bool_] | None = None
    _digest: Callable[[], str] = field(default=str, repr=False)

    @property
    def length(self) -> int | None:
        """Number of images asked for, unreadable ones included; ``None`` for a stream."""
        return None if self.ids is None else len(self.ids)

    @property
    def unlabelled(self) -> str:
        """Why there is not one label per image, as a sentence; empty where nothing is known."""
        return self.label_mismatch or (SEVERAL if self.several is not None else "")

    def settled(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The labels that a whole pass gave, all -1 where it turned out that they mean nothing.

        One batch of a stream can look as if each image had one label.
        """
        return np.full_like(labels, -1) if self.unlabelled else labels

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


def grouped(rows: Iterator[Row], batch_size: int) -> Iterator[ImageBatch]:
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
class Wanted:
    """What the model takes, and how much of it at a time."""

    size: tuple[int, int] | None
    channels: int
    batch_size: int
    how: str
    outputs: int | None
    classes: Sequence[str | Sequence[str]] | None


def source_of(
    ids: tuple[str, ...] | None,
    labels: Labels,
    batches: Callable[[Source], Iterator[ImageBatch]],
    part: Callable[[Sequence[int]], Source] | None = None,
) -> Source:
    """A source of images with these names and labels; see `Source`."""
    return Source(
        ids, labels.values, labels.names, labels.mismatch, batches, part, several=labels.several
    )
