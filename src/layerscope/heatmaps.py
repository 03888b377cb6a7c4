"""Heatmaps as pictures: from numbers to a page, a folder or one file, image after image."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from layerscope.audit.figures import count
from layerscope.document.compose import heading
from layerscope.document.heat import MANY, heat_page, heatmap
from layerscope.document.parts import Document, Heatmap, Note
from layerscope.errors import InputError
from layerscope.focus.heat import Heat
from layerscope.focus.methods import METHODS
from layerscope.render.folder import holds_one, place_of, safe, save
from layerscope.render.notebook import DocumentDisplay
from layerscope.render.png import Drawable
from layerscope.vocabulary import Skipped

MOST_DRAWN = 16
"""Images with a picture; the numbers of all are kept."""
ALPHA = 0.4
"""Share of the colour of a heatmap over its photo."""


@dataclass(frozen=True, repr=False)
class Heatmaps(Heat):
    """Where the model looks, with pictures: a notebook displays them as a page."""

    @classmethod
    def of(cls, heat: Heat) -> "Heatmaps":
        """The same with pictures."""
        return cls(**{one.name: getattr(heat, one.name) for one in fields(Heat)})

    @property
    def document(self) -> Document:
        """Pictures of at most 16 images, evenly spread, as one document."""
        return drawn([self]).document

    def save(self, path: str | Path, alpha: float = ALPHA) -> list[Path]:
        """Write the pictures, see `layerscope.render.folder.save`.

        Args:
            path: a folder; a name that ends in ``.png`` for the picture of one image, or in
                ``.html`` for the page alone.
            alpha: share of the colour of a heatmap over its photo, 0 to 1.
        """
        return write([self], path, alpha)

    def _repr_html_(self) -> str:
        return DocumentDisplay(self.document)._repr_html_()


@dataclass(frozen=True)
class Drawn:
    """Pictures of heatmaps.

    Attributes:
        model: name of the model.
        parts: one per image that is drawn.
        total: how many images there are.
        empty: how many of them have an empty heatmap.
        notes: what must be known before looking.
        skipped: files that could not be used.
    """

    model: str
    parts: tuple[Heatmap, ...]
    total: int
    empty: int
    notes: tuple[Note, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    command = "focus"  # not a field: which command writes it

    @property
    def left_out(self) -> str:
        """That not all images have a picture, in a sentence; empty where they have."""
        drawn = len(self.parts)
        words = f"{drawn} of {self.total:,} images have a picture, evenly spread over the set."
        return words if self.total > drawn else ""

    @property
    def document(self) -> Document:
        """Everything as one page."""
        notes = list(self.notes)
        notes += [Note(self.left_out)] if self.left_out else []
        if self.empty:
            verb = "is" if self.empty == 1 else "are"
            notes.append(Note(f"{self.empty:,} of {count(self.total, 'heatmap')} {verb} empty."))
        notes += [Note(f"{one.file} was skipped: {one.reason}.", "warn") for one in self.skipped]
        names = [part.name for part in self.parts]
        title = heading(self.model, names)
        if self.total > len(names):
            title = f"{self.model}: {count(self.total, 'image')}"
        return heat_page(title, self.parts, notes)

    def one(self) -> Drawable:
        """The picture of the only image.

        Raises:
            InputError: there are several.
        """
        if self.total > 1:
            raise InputError(MANY)
        return self.parts[0]

    def pictures(self) -> list[tuple[str, Drawable]]:
        """File name and part of every picture."""
        if len(self.parts) == 1:
            return [("heatmap.png", self.parts[0])]
        return [
            (f"heatmap-{at:02}-{safe(Path(part.name).stem)}.png", part)
            for at, part in enumerate(self.parts, 1)
        ]


def drawn(
    heats: Iterable[Heat],
    alpha: float = ALPHA,
    notes: Sequence[Note] = (),
    most_images: int | None = None,
    tell: Callable[[Heat], None] = lambda _: None,
) -> Drawn:
    """Pictures of at most `MOST_DRAWN` images, evenly spread; nothing else is kept.

    Args:
        heats: batch after batch of one question.
        alpha: share of the colour of a heatmap over its photo, 0 to 1.
        notes: what must be known before looking.
        most_images: if set, more are refused as soon as they come.
        tell: hears each batch.

    Raises:
        InputError: there is no image, or there are too many.
    """
    even, empty, last = _Even(), 0, None
    for last in heats:
        for at in range(len(last)):
            if even.wanted():
                source = METHODS[last.method].source if last.method in METHODS else ""
                even.parts.append(heatmap(last, at, _signed(last), source, alpha))
            even.total += 1
        empty += int(last.empty.sum())
        if most_images is not None and even.total > most_images:
            raise InputError(MANY)
        tell(last)
    if last is None:
        raise InputError("At least one image is needed, and none could be read.")
    return Drawn(last.model, even.spread(), even.total, empty, tuple(notes), last.skipped)


@dataclass
class _Even:
    """An even spread over images of which nobody knows how many come."""

    parts: list[Heatmap] = field(default_factory=list)
    step: int = 1
    total: int = 0

    def wanted(self) -> bool:
        """Whether to keep the next one; makes room for it."""
        if self.total % self.step == 0 and len(self.parts) == 2 * MOST_DRAWN:
            self.parts, self.step = self.parts[::2], 2 * self.step
        return self.total % self.step == 0

    def spread(self) -> tuple[Heatmap, ...]:
        """At most `MOST_DRAWN` of those that were kept."""
        kept = len(self.parts)
        places = np.linspace(0, kept - 1, min(kept, MOST_DRAWN)).round()
        return tuple(self.parts[int(place)] for place in places)


def _signed(heat: Heat) -> bool:
    """Whether a value below 0 speaks against the answer."""
    method = METHODS.get(heat.method)
    if method is None:
        return bool((heat.raw < 0).any())
    keeps = method.signed or heat.parameters.get("relu") is False
    return keeps and heat.reduction in ("", "sum")


def write(
    heats: Iterable[Heat],
    path: str | Path,
    alpha: float = ALPHA,
    notes: Sequence[Note] = (),
    tell: Callable[[Heat], None] = lambda _: None,
) -> list[Path]:
    """Draw heatmaps batch after batch, and write the pictures; see `drawn` and `Heatmaps.save`."""
    one = holds_one(place_of(path))
    return save(drawn(heats, alpha, notes, 1 if one else None, tell), path)
