"""A suspect tested by hand: which classes a mark, or a part of the images of a class, pushes.

The mark is pasted onto images and the model is asked before and after. Pasting anything moves the
answers, so the same is done with controls that have its size and its colours and not its form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from layerscope.audit.figures import count, percent
from layerscope.document.colour import Bytes
from layerscope.document.parts import Document, Note, Picture
from layerscope.document.probed import Told, probe_page, statement
from layerscope.errors import InputError
from layerscope.feed import check_finite
from layerscope.focus.contract import is_count
from layerscope.focus.targets import PREDICTED, Explained, explained, wanted
from layerscope.images import Preprocessing, Source
from layerscope.images.labels import ClassNames
from layerscope.images.region import Region
from layerscope.images.source import are_files
from layerscope.intake import MOST_IMAGES, Images, Intake
from layerscope.interventions.answers import probabilities
from layerscope.interventions.marks import (
    UNLABELLED,
    Given,
    Mark,
    block,
    box_of,
    check_asked,
    check_place,
    marked,
    places_of,
    read_mark,
    shuffled,
)
from layerscope.interventions.transplant import paired, pasted
from layerscope.measures.pushes import Answers, pushes
from layerscope.render.folder import save
from layerscope.render.notebook import DocumentDisplay
from layerscope.render.png import Drawable
from layerscope.render.side_by_side import alone, enlarged, side_by_side, thumbnail
from layerscope.run.crops import to_rgb
from layerscope.run.raw import Pool, pool_of
from layerscope.vocabulary import Floats, Skipped

MOST = 200
"""Images, unless more are asked for."""
PICTURED = 6
"""Images with a picture."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Probe:
    """Which classes a mark pushes, and how far.

    Attributes:
        model: name of the model.
        told: what was pasted and onto what, in words and numbers, see
            `layerscope.document.probed.Told`.
        classes: one row per class, the largest ``rise`` first: ``class``, ``name``; ``rise`` of the
            explained number (see ``scale``) and of the ``probability``, means over the images;
            ``moved``, the share of the images answered otherwise before that are answered so
            after. The same for each control, with its name in front (``block_rise``; ``block`` and
            ``shuffled`` for a mark, ``third`` for a region), and the lead over it
            (``block_rise_lead``, ``block_probability_lead``). All with 95 % limits over images, or
            over photos where crops of one are known (``_low``, ``_high``): bootstrap, Wilson for
            shares; NaN with fewer than 8. ``p``: of the lead of the rise over the better control,
            corrected for all classes. ``pushed``: p at most .05, and the rise and its lead over
            each control lie above 0 with their limits.
        scale: what rises: ``logit``, ``probability`` or ``output``.
        ids: names of the images pasted onto.
        looks: what was pasted and its controls.
        shown: some images before and after.
        notes: what must be known before looking.
        skipped: files that could not be used, with the reasons.
    """

    model: str
    told: Told
    classes: pd.DataFrame
    scale: str
    ids: tuple[str, ...]
    looks: tuple[Picture, ...] = field(repr=False)
    shown: tuple[Picture, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    command = "probe"  # not a field: which command writes it

    @property
    def statement(self) -> str:
        """What was found, in a sentence or two."""
        return statement(self.told, self.classes, self.scale)

    @property
    def document(self) -> Document:
        """Everything as one page."""
        notes = [Note(text) for text in self.notes]
        notes += [Note(f"{one.file} was skipped: {one.reason}.", "warn") for one in self.skipped]
        return probe_page(
            self.model, self.told, self.classes, self.scale, self.looks, self.shown, notes
        )

    def one(self) -> Picture:
        """Nothing: a page holds a probe.

        Raises:
            InputError: always.
        """
        raise InputError("A probe is saved as a folder or as one .html, and not as one picture.")

    def pictures(self) -> list[tuple[str, Drawable]]:
        """File name and part of every picture."""
        return [(f"probe-{at:02}.png", part) for at, part in enumerate(self.shown, 1)]

    def save(self, path: str | Path) -> list[Path]:
        """Write the page: a name that ends in ``.html``, or a folder for page and pictures.

        Raises:
            InputError: another ending, or a file there is not ours.
            EnvironmentFailure: it cannot be written.
        """
        return save(self, path)

    def __repr__(self) -> str:
        return f"Probe of {self.model}: {self.statement} (.classes, .save(path))"

    def _repr_html_(self) -> str:
        return DocumentDisplay(self.document)._repr_html_()


def probe(
    intake: Intake,
    images: Images,
    mark: Given | None = None,
    *,
    at: Sequence[float] | None = None,
    roam: bool = False,
    region: Sequence[float] | None = None,
    from_class: int | str | None = None,
    most: int = MOST,
    batch_size: int | None = None,
    output: str | None = None,
    names: ClassNames | None = None,
    seed: int = 0,
) -> Probe:
    """Paste a mark, or a region of one class, onto images and see which classes it pushes.

    Args:
        intake: brings images into the model.
        images: see `layerscope.intake.Images`; 8 at least for a statement, at best 25 and more.
            Labelled for a region.
        mark: a picture, see `layerscope.interventions.marks.read_mark`, pasted at its own pixels
            onto the images as large as the model sees them, before preprocessing.
        at: x and y of its upper left corner as fractions 0..1 of the image; default the middle.
        roam: paste it at a random place of each image instead.
        region: instead of a mark x0, y0, x1, y1, fractions 0..1: that part of images of
            ``from_class`` is pasted into images of other classes, and as a control that of a third
            class; with two classes that of another image of the same class.
        from_class: its index or name.
        most: images that are used, evenly spread over the set; of a stream the first.
        batch_size: images in one pass.
        output: name of the output; default the only one, or the only vector.
        names: of the classes, in the order of the outputs.
        seed: of places, shuffled pixels, pairs and the bootstrap.

    Raises:
        InputError: mark, region, images or numbers that do not fit.
    """
    check_asked(mark is not None, region is not None, from_class is not None, at, roam)
    place, box = check_place(at, roam, region)
    intake.check_batch_size(batch_size)
    if not is_count(most):
        raise InputError(f"most is a number of images from 1; got {most!r}.")
    suspect = None if mark is None else read_mark(mark)
    intake.check_classes()
    source, steps = intake.open(images, MOST_IMAGES)
    model = _Model(intake, steps, output, names, batch_size or MOST_IMAGES)
    about = model.explained()
    levels = are_files(images) and not str(images).lower().endswith(".npz")
    known = _class_names(names, source)
    asked = _Asked(model, source, known, levels, most, seed)
    if suspect is not None:
        tried = _with_mark(asked, suspect, place, roam)
    elif box is not None:
        tried = _with_region(asked, box, int(wanted(about, from_class, known, 1)[0]))
    return _probed(asked, tried, _notes(intake, images, tried.pool), about)


@dataclass(frozen=True)
class _Model:
    """How raw images are answered."""

    intake: Intake
    steps: Preprocessing | None
    output: str | None
    names: ClassNames | None
    rows: int

    def explained(self) -> Explained:
        """The numbers of all classes.

        Raises:
            InputError: there are no classes.
        """
        about = explained(self.intake.traced, None, self.output, self.names)
        if not about.classes:
            raise InputError(
                "A probe asks which class is pushed, and the output of "
                f"'{self.intake.model.name}' is one number: give two class names if it is the "
                "logit of the second."
            )
        return about

    def answer(self, raw: Floats, ids: Sequence[str]) -> tuple[Floats, Floats]:
        """Explained numbers and outputs of images of one size, (n, K) and (n, outputs)."""
        ready = raw if self.steps is None else self.steps.apply(raw)
        check_finite(ready, ids)
        traced = self.intake.fitting([ready])
        about = explained(traced, None, self.output, self.names)
        anything = np.full(len(raw), PREDICTED, np.int64)
        fetches = [about.values, traced.outputs[about.output]]
        values, outputs = about.ask([ready], anything, fetches)
        return values.copy(), outputs.reshape(len(raw), -1).copy()


@dataclass(frozen=True)
class _Asked:
    """A question, whatever is pasted."""

    model: _Model
    source: Source
    names: ClassNames | None
    levels: bool  # whether pixels are grey levels 0..255
    most: int
    seed: int

    def pool(self, source: Source) -> Pool:
        return pool_of(source, self.most, self.levels)

    def name(self, index: int) -> str:
        known = self.names and index < len(self.names)
        return self.names[index][-1] if self.names and known else f"class {index}"


@dataclass(frozen=True)
class _Tried:
    """What was pasted, and what the model said of it."""

    pool: Pool
    told: Told
    looks: tuple[Picture, ...]
    donors: dict[str, NDArray[Any]]  # the photo that each patch came from; empty for a mark
    before: Answers
    after: dict[str, Answers]  # "" for the suspect, then its controls
    sheets: dict[int, list[Bytes]]  # some images: before, after, and with the controls


def _with_mark(asked: _Asked, mark: Mark, at: tuple[float, float] | None, roam: bool) -> _Tried:
    pool = asked.pool(asked.source)
    random = np.random.default_rng((asked.seed, 11))
    places = np.zeros((len(pool.ids), 2), np.int64)
    for group in pool.shapes():
        sides = pool.pixels[group[0]].shape[:2]
        places[group] = places_of(mark, sides, len(group), at, random if roam else None)
    plain = block(mark)
    mixed = [shuffled(mark, random) for _ in places]
    marks = {"": [mark] * len(places), "block": [plain] * len(places), "shuffled": mixed}

    def change(kind: str, part: Indices) -> Floats:
        own = [marks[kind][i] for i in part]
        return marked(pool.at(part), own, places[part], pool.tones.low, pool.tones.step)

    height, width = mark.size
    corner = f"upper left corner at x {places[0, 1]}, y {places[0, 0]}"
    told = Told(
        "the mark",
        f"{width} × {height} pixels, {'at a random place of each image' if roam else corner}",
        "images",
        (("block", "a block of equal mean"), ("shuffled", "its pixels shuffled")),
    )
    looks = (
        alone(mark, "The mark"),
        alone(plain, "Control: a block of equal mean"),
        alone(mixed[0], "Control: its pixels shuffled, anew for each image"),
    )
    return _tried(asked, pool, told, looks, {}, change)


def _with_region(asked: _Asked, region: Region, label: int) -> _Tried:
    source, name = asked.source, asked.name(label)
    own, others = _sides(source, label, name)
    donors, pool = asked.pool(own), asked.pool(others)
    shapes = {image.shape for image in (*donors.pixels, *pool.pixels)}
    if len(shapes) > 1:
        raise InputError("A region goes from image to image of one size, and these have several.")
    ((height, width, _),) = shapes
    x0, y0, x1, y1 = box_of(region, (height, width))
    random = np.random.default_rng((asked.seed, 12))
    gives = paired(random, len(pool.ids), range(len(donors.ids)))
    third, lonely = _third(pool.labels, random)

    def change(kind: str, part: Indices) -> Floats:
        patches = pool.at(third[part]) if kind else donors.at(gives[part])
        return pasted(pool.at(part), patches, np.tile([x0, y0, x1, y1], (len(part), 1)))

    told = Told(
        f"the region of class {name}",
        f"x {x0} to {x1}, y {y0} to {y1} of {width} × {height} pixels, from "
        f"{count(len(donors.ids), 'image')}",
        "images of other classes",
        (("third", f"the same region of {'the same' if lonely else 'a third'} class"),),
        label,
    )
    one = to_rgb(donors.pixels[gives[0]], pool.tones)[y0:y1, x0:x1]
    looks = (Picture(enlarged(one), "The region of one image", f"In {donors.ids[gives[0]]}"),)
    photos = {"": donors.photos[gives], "third": pool.photos[third]}
    return _tried(asked, pool, told, looks, photos, change)


def _sides(source: Source, label: int, name: str) -> tuple[Source, Source]:
    """The images of a class, and those of all others."""
    if source.labels is None:
        why = f" ({source.unlabelled})" if source.unlabelled else ""
        raise InputError(f"{UNLABELLED}{why}.")
    own = np.flatnonzero(source.labels == label)
    others = np.flatnonzero((source.labels >= 0) & (source.labels != label))
    if not len(own) or not len(others):
        raise InputError(
            f"A region of class {name!r} goes into images of other classes, so both are needed; "
            f"there are {len(own)} of that class and {len(others)} of others."
        )
    return source.part(own.tolist()), source.part(others.tolist())


def _third(labels: Indices, random: np.random.Generator) -> tuple[Indices, bool]:
    """For each image another, of a third class; of its own where there are only two classes."""
    lonely = len(set(labels.tolist())) < 2
    found = np.arange(len(labels))
    for at, label in enumerate(labels):
        fits = np.flatnonzero((labels == label) == lonely)
        fits = fits[fits != at]
        found[at] = random.choice(fits) if len(fits) else at
    return found, lonely


def _tried(
    asked: _Asked,
    pool: Pool,
    told: Told,
    looks: tuple[Picture, ...],
    donors: dict[str, NDArray[Any]],
    change: Callable[[str, Indices], Floats],
) -> _Tried:
    """Ask the model before and after, a few images at a time, and keep some pictures."""
    kinds = ["", *[key for key, _ in told.controls]]
    shown = set(np.linspace(0, len(pool.ids) - 1, PICTURED).round().astype(int).tolist())
    order: list[int] = []
    found: list[list[tuple[Floats, Floats]]] = [[] for _ in range(1 + len(kinds))]
    sheets: dict[int, list[Bytes]] = {at: [] for at in sorted(shown)}
    for part in pool.parts(asked.model.rows):
        order += part.tolist()
        for kept, raw in zip(
            found, (pool.at(part), *(change(kind, part) for kind in kinds)), strict=True
        ):
            kept.append(asked.model.answer(raw, [pool.ids[at] for at in part]))
            for at, image in zip(part.tolist(), raw, strict=True):
                if at in shown:
                    sheets[at].append(thumbnail(to_rgb(image, pool.tones)))
    back = np.argsort(order)
    values, outputs = (
        [np.concatenate([one[which] for one in kept])[back] for kept in found] for which in (0, 1)
    )
    # All at once: whether numbers are probabilities is told from their range.
    likely = np.split(probabilities(np.concatenate(outputs)), len(found))
    before, *after = [Answers(*pair) for pair in zip(values, likely, strict=True)]
    told = told.counted(len(pool.ids), len(set(pool.photos)))
    return _Tried(pool, told, looks, donors, before, dict(zip(kinds, after, strict=True)), sheets)


def _probed(asked: _Asked, tried: _Tried, notes: Sequence[str], about: Explained) -> Probe:
    table = pushes(tried.before, tried.after, tried.pool.photos, tried.donors, asked.seed)
    table.insert(1, "name", [asked.name(int(index)) for index in table["class"]])
    return Probe(
        asked.model.intake.model.name,
        tried.told,
        table.sort_values("rise", ascending=False, kind="stable", ignore_index=True),
        about.scale,
        tried.pool.ids,
        tried.looks,
        tuple(_row(asked, tried, at) for at in tried.sheets),
        tuple(notes),
        tried.pool.skipped,
    )


def _row(asked: _Asked, tried: _Tried, at: int) -> Picture:
    """An image before, after, and with the controls, side by side."""
    said = []
    for answers in (tried.before, *tried.after.values()):
        best = int(answers.called[at])
        said.append(f"{asked.name(best)} {percent(float(answers.likely[at, best]))}")
    name, word = tried.pool.ids[at], "controls" if len(said) > 3 else "control"
    caption = f"{name}: {' → '.join(said[:2])}; {word}: {', '.join(said[2:])}"
    alt = f"{name} before, with {tried.told.what}, and with the controls"
    return Picture(side_by_side(tried.sheets[at]), alt, caption)


def _notes(intake: Intake, images: Images, pool: Pool) -> list[str]:
    said = []
    if pool.given is not None and pool.given > len(pool.ids) + len(pool.skipped):
        said.append(f"{len(pool.ids)} of {pool.given:,} such images were used, evenly spread.")
    if are_files(images):
        prepared = intake.preparation(images)
        said += [prepared.suspect, str(prepared), intake.resized(images)]
    black, white = pool.tones.values(np.array([0, 255], np.float32))
    if (black, white) != (0, 255):
        said.append(f"Values of {black:g} and {white:g} were taken for black and white.")
    return [text for text in said if text]


def _class_names(names: ClassNames | None, source: Source) -> ClassNames | None:
    """Those given, else those of the images where there is one for each output."""
    if names is not None or source.labels is None:
        return names
    return tuple((name,) for name in source.class_names)
